"""The rights of Kafka principals follow the service diagram."""

from __future__ import annotations

from dataflows.runtime.topology import COMPACT, COMPACT_SERVICES, SERVICES, Layout, ServiceInput, ServiceSpec
from deploy.commands.kafka import kafka_acls_commands
from deploy.security.kafka_rights import RESTORED_PREFIX, KafkaRight, all_rights, principals, topic_names

RIGHTS = all_rights("")


def topics(principal: str, operation: str, rights: frozenset[KafkaRight] = RIGHTS) -> set[str]:
    return {
        right.name
        for right in rights
        if (right.principal, right.resource, right.operation) == (principal, "TOPIC", operation)
    }


def writers(topic: str) -> set[str]:
    return {right.principal for right in RIGHTS if (right.name, right.operation) == (topic, "WRITE")}


def test_each_service_writes_the_topics_of_the_diagram_and_no_other() -> None:
    for name, spec in SERVICES.items():
        extra = {"commands"} if name == "execution" else set()
        assert topics(name, "WRITE") == {*spec.outputs, *spec.unclocked, "dead-letters", "late-records"} | extra


def test_each_service_reads_its_inputs_and_what_it_wrote() -> None:
    for name, spec in SERVICES.items():
        read = topics(name, "READ")
        assert {service_input.topic for service_input in spec.inputs} | {*spec.outputs, *spec.unclocked} <= read
        inputs = {service_input.topic for service_input in spec.inputs}
        assert read <= inputs | {*spec.follows} | topics(name, "WRITE")
        assert {*spec.follows} <= read


def test_only_risk_writes_orders_and_commands_have_four_writers() -> None:
    assert writers("orders") == {"risk"}
    assert writers("executions") == {"execution"}
    assert writers("commands") == {"market_data", "execution", "api", "cli"}
    assert writers("configuration") == {"market_data", "api", "cli"}
    assert writers("audit-heads") == {"cli", "checks"}


def test_in_the_compact_layout_one_principal_has_the_rights_of_all_its_services() -> None:
    rights = all_rights("", layout=Layout.COMPACT)
    assert {right.principal for right in rights if (right.name, right.operation) == ("orders", "WRITE")} == {COMPACT}
    for service in COMPACT_SERVICES:
        for operation in ("READ", "WRITE"):
            assert topics(service, operation, RIGHTS) <= topics(COMPACT, operation, rights), service
    assert not {right.principal for right in rights} & set(COMPACT_SERVICES)
    assert not {right.principal for right in RIGHTS} & {COMPACT}


def test_a_service_beside_the_compact_process_has_its_own_rights() -> None:
    rights = all_rights("", layout=Layout.COMPACT, beside=("execution",))
    assert {one for one in rights if one.principal == "execution"} == {
        one for one in RIGHTS if one.principal == "execution"
    }
    writers = {right.principal for right in rights if (right.name, right.operation) == ("executions", "WRITE")}
    assert writers == {"execution"}
    assert "executions" in topics(COMPACT, "READ", rights)
    assert topics("market_data", "WRITE", rights) == topics("market_data", "WRITE")


def test_readers_see_every_topic_and_the_viewer_writes_none() -> None:
    for principal in ("api", "cli", "checks"):
        assert topics(principal, "READ") == set(topic_names())
    assert topics("viewer", "READ") == {*topic_names(), RESTORED_PREFIX}
    assert topics("api", "WRITE") == {"commands", "configuration"}
    assert not topics("viewer", "WRITE")


def test_a_new_service_gets_its_rights() -> None:
    new = ServiceSpec(inputs=(ServiceInput("market-bars"),), outputs=("volatility",))
    rights = all_rights("desk-", {**SERVICES, "volatility": new})
    assert topics("volatility", "WRITE", rights) == {"desk-volatility", "desk-dead-letters", "desk-late-records"}
    assert "desk-market-bars" in topics("volatility", "READ", rights)
    assert KafkaRight("volatility", "GROUP", "desk-platform-volatility", "READ") in rights
    assert "volatility" in principals({**SERVICES, "volatility": new})


def test_printed_commands_name_every_right() -> None:
    commands = kafka_acls_commands(RIGHTS, "kafka:9092")
    words = [word for command in commands for word in command.split()]
    assert words.count("--topic") + words.count("--group") == len(RIGHTS)
    [orders] = [c for c in commands if "User:risk" in c and "WRITE" in c]
    assert "--topic orders" in orders
    assert orders.startswith("kafka-acls.sh --bootstrap-server kafka:9092")
