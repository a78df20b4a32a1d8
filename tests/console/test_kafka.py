from __future__ import annotations

import base64
import os

from console.kafka_node.node import cluster_id


def test_a_clusters_name_is_not_a_option():
    dashed = bytes([0xF8, *range(15)])
    assert base64.urlsafe_b64encode(dashed).startswith(b"-")
    assert not cluster_id(dashed).startswith("-")


def test_a_clusters_name_is_sixteen_bytes():
    for _ in range(300):
        name = cluster_id(os.urandom(16))
        assert len(name) == 22
        assert len(base64.urlsafe_b64decode(name + "==")) == 16
