from xml.etree import ElementTree

from tidemill.streams.broker import settings
from tidemill.streams.broker.security import Passwords


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


def test_in_secure_mode_nobody_gets_in_by_default_on_any_listener():
    passwords = Passwords("a-word", "b-word", "c-word")
    rendered = parse(settings.server_properties(9092, 20001, passwords=passwords))
    assert rendered["listeners"] == "SASL_PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:20001"
    assert "PLAINTEXT:PLAINTEXT" not in rendered["listener.security.protocol.map"].replace("SASL_PLAINTEXT", "")
    assert rendered["authorizer.class.name"].endswith(".StandardAuthorizer")
    assert rendered["allow.everyone.if.no.acl.found"] == "false"
    assert rendered["super.users"] == "User:admin;User:broker;User:controller"
    assert "a-word" not in str(rendered), "the broker need not know it"
    assert repr(passwords) == "Passwords()"
    assert passwords.hide("no b-word, no c-word") == "no ***, no ***"


def test_passwords_are_drawn_for_each_folder_and_kept_private(tmp_path):
    assert Passwords.load(tmp_path / "none") is None
    drawn = Passwords.draw()
    assert len({*vars(drawn).values(), *vars(Passwords.draw()).values()}) == 6
    drawn.save(tmp_path / "some")
    assert (tmp_path / "some").stat().st_mode & 0o777 == 0o600
    assert Passwords.load(tmp_path / "some") == drawn
