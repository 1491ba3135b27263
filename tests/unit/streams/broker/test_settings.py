from xml.etree import ElementTree

from tidemill.streams.broker import settings


def parse(text):
    return dict(line.split("=", 1) for line in text.splitlines())


def test_every_listener_is_on_the_loopback_interface():
    rendered = parse(settings.server_properties(9092, 20001))
    assert rendered["listeners"] == "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:20001"
    assert rendered["advertised.listeners"] == "PLAINTEXT://127.0.0.1:9092"
    assert rendered["controller.quorum.voters"] == "1@127.0.0.1:20001"


def test_nothing_asks_for_a_second_copy():
    rendered = parse(settings.server_properties(9092, 20001))
    copies = {name: value for name, value in rendered.items() if name.endswith((".replication.factor", ".min.isr"))}
    assert len(copies) >= 5
    assert set(copies.values()) == {"1"}


def test_sessions_of_six_seconds_and_transactions_of_ten_are_permitted():
    rendered = parse(settings.server_properties(9092, 20001))
    assert int(rendered["group.min.session.timeout.ms"]) <= 6000
    assert int(rendered["group.consumer.min.session.timeout.ms"]) <= int(rendered["group.consumer.session.timeout.ms"])
    assert int(rendered["transaction.max.timeout.ms"]) >= 10_000
    assert rendered["auto.create.topics.enable"] == "false"


def test_paths_are_relative_so_that_none_needs_escaping():
    assert parse(settings.server_properties(1, 2, log_dir="elsewhere"))["log.dirs"] == "elsewhere"
    assert parse(settings.server_properties(1, 2))["log.dirs"] == settings.DATA


def test_the_log_is_bounded():
    appender = ElementTree.fromstring(settings.log4j2_xml()).find("Appenders/RollingFile")
    assert appender.get("fileName") == "logs/server.log"
    assert appender.find("SizeBasedTriggeringPolicy").get("size") == "5 MB"
    assert appender.find("DefaultRolloverStrategy").get("max") == "3"
