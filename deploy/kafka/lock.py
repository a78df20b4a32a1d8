"""Write jgo.lock.toml anew: Kafka's jars with version and sha256.   python deploy/kafka/lock.py [KAFKA_VERSION]

In → a Kafka version; out → the lock file beside this one. `console.kafka_node.node` fetches exactly these files and checks every sum.
"""

import sys
from pathlib import Path

import jgo
from jgo.env import LockedDependency, LockFile
from jgo.maven import Artifact

VERSION = sys.argv[1] if len(sys.argv) > 1 else "4.1.2"  # the version of docker-compose.yml


def locked(artifact: Artifact) -> LockedDependency:
    from jgo.env._lockfile import compute_sha256

    return LockedDependency(
        artifact.groupId, artifact.artifactId, artifact.version, artifact.packaging, artifact.classifier, compute_sha256(artifact.resolve())
    )


artifacts = jgo.resolve(f"org.apache.kafka:kafka_2.13:{VERSION}+org.slf4j:slf4j-reload4j:1.7.36")
jars = sorted((a for a in artifacts if a.packaging == "jar"), key=lambda a: (a.groupId, a.artifactId))
target = Path(__file__).with_name("jgo.lock.toml")
LockFile([locked(a) for a in jars], environment_name=f"kafka-{VERSION}").save(target)
print(f"{len(jars)} jars in {target}")
