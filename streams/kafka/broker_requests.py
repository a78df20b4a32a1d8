"""Two requests of Kafka's protocol in versions that aiokafka does not have: the ids of topics, and a static member's leave."""

# mypy: disable-error-code="misc"

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import AbstractType, Array, Boolean, CompactArray, CompactString, Int16, Int32, Schema, String, TaggedFields

if TYPE_CHECKING:
    from io import BytesIO


MARK = "topic-id:"


class Uuid(AbstractType[uuid.UUID]):
    """Sixteen bytes."""

    @classmethod
    def encode(cls, value: uuid.UUID) -> bytes:
        """To bytes."""
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> uuid.UUID:
        """From bytes."""
        return uuid.UUID(bytes=data.read(16))


class MetadataResponse_v12(Response):  # noqa: N801 - as aiokafka names them
    """With the topics' ids."""

    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString("utf-8")),
                ("topic_id", Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("topic_authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class MetadataRequest_v12(RequestStruct):  # noqa: N801 - as aiokafka names them
    """Of named topics."""

    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 12
    RESPONSE_TYPE = MetadataResponse_v12
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", Uuid), ("topic", CompactString("utf-8")), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class DescribeTopics(Request[MetadataRequest_v12]):
    """Ids and partitions of topics, without making any."""

    API_KEY = 3

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[MetadataRequest_v12]) -> MetadataRequest_v12:
        """The request."""
        return request_struct_class([(uuid.UUID(int=0), topic, {}) for topic in self._topics], False, False, {})


class TopicFacts(NamedTuple):
    """What the broker says of a topic."""

    identity: uuid.UUID
    """Another one when it was deleted and made anew."""
    partitions: tuple[int, ...]

    @property
    def mark(self) -> str:
        """What is committed beside an offset, so that it is not taken for one of another topic of the same name."""
        return f"{MARK}{self.identity}"


def mark_in(metadata: str) -> str:
    """The topic's mark in a commit's metadata; empty: it has none."""
    return next((word for word in metadata.split() if word.startswith(MARK)), "")


async def describe_topics(client: Any, topics: Sequence[str]) -> dict[str, TopicFacts]:
    """Ask any broker for topics; those it does not have are left out.

    Raises
    ------
    aiokafka.errors.KafkaError
        It refused, or does not answer.
    NotImplementedError
        It is older than 3.0.
    """
    response = await client.send(client.get_random_node(), DescribeTopics(topics))
    return {
        topic: TopicFacts(identity, tuple(sorted(row[1] for row in partitions)))
        for error_code, topic, identity, _, partitions, *_ in response.topics
        if not error_code
    }


class LeaveGroupResponse_v3(Response):  # noqa: N801 - as aiokafka names them
    """An error of the group, and one of each member."""

    API_KEY = 13
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("members", Array(("member_id", String("utf-8")), ("group_instance_id", String("utf-8")), ("error_code", Int16))),
    )


class LeaveGroupRequest_v3(RequestStruct):  # noqa: N801 - as aiokafka names them
    """Of members by id and name."""

    API_KEY = 13
    API_VERSION = 3
    RESPONSE_TYPE = LeaveGroupResponse_v3
    SCHEMA = Schema(
        ("group", String("utf-8")),
        ("members", Array(("member_id", String("utf-8")), ("group_instance_id", String("utf-8")))),
    )


class LeaveStatic(Request[LeaveGroupRequest_v3]):
    """The leave of a member with a name (KIP-345)."""

    API_KEY = 13

    def __init__(self, group: str, member_id: str, *, group_instance_id: str) -> None:
        self._group, self._member = group, (member_id, group_instance_id)

    def build(self, request_struct_class: type[LeaveGroupRequest_v3]) -> LeaveGroupRequest_v3:
        """The request."""
        return request_struct_class(self._group, [self._member])
