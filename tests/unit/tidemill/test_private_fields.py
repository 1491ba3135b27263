import hashlib
import hmac

import polars as pl
import pytest
from sklearn.dummy import DummyClassifier

import tidemill as tm
from tidemill.hash_key import HASH_KEY, HASH_KEY_FILE, hash_key
from tidemill.processors.sanity_check.private_fields import keyed_hash
from tidemill.schemas.contract import Contract
from tidemill.schemas.errors import SchemaError

KEY = "0123456789abcdef-never-in-a-repository"
CARD, EMAIL, NUMBER = "4929-1111-SECRET-CARD", "ada@SECRET.example", 987654321987
PAYMENT = {
    "type": "record",
    "name": "Payment",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "card", "type": "string"},
        {"name": "email", "type": ["null", "string"], "default": None, "private": True},
        {"name": "account", "type": ["null", "long"], "default": None},
        {"name": "amount", "type": "double", "constraints": {"minimum": 0}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    ],
}


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv(HASH_KEY, KEY)
    monkeypatch.delenv(HASH_KEY_FILE, raising=False)


def expected(value):
    return hmac.new(KEY.encode(), str(value).encode(), hashlib.sha256).hexdigest()[:32]


FRAUD = {
    "type": "record",
    "name": "Fraud",
    "fields": [{"name": "id", "type": "string"}, {"name": "fraud", "type": "boolean"}],
}
HASHED = ("card", tm.hashed("account"))


def pipeline(private=HASHED, key="card", **options):
    options = {
        "checks": [tm.matches("email", "@"), tm.check("cheap", pl.col("card").str.len_chars() > 3)],
        "features": [
            tm.window("card", over="1h", n=tm.count()),
            tm.window("account", over="1h", of_account=tm.count()),
            tm.expression(large=pl.col("amount") > 10),
        ],
    } | options
    return tm.Pipeline("payments", tm.Events(PAYMENT, key=key, time="at", id="id", private=private), **options)


def event(driver, number, **changes):
    return {
        "id": f"p{number}",
        "card": CARD,
        "email": EMAIL,
        "account": NUMBER,
        "amount": 5.0,
        "at": driver.now,
    } | changes


def records(driver, topic):
    return [record for p in driver.log.partitions(topic) for record in driver.log.read(topic, p)]


def written(driver, *, without=()):
    """All bytes on the log but those of these topics."""
    found = []
    for spec in driver.plan.topics():
        topic = spec.name
        if topic.removeprefix("payments.") in without:
            continue
        for record in records(driver, topic):
            headers = [value for _, value in record.headers or ()]
            found += [(topic, part) for part in (record.key, record.value, *headers) if part]
    return found


def holds_secret(part):
    return any(str(secret).encode() in part for secret in (CARD, EMAIL, NUMBER, "SECRET", KEY))


@pytest.mark.parametrize("stages", ["all", "each"])
def test_later_stages_see_a_hash_or_nothing(stages):
    labels = tm.Labels(FRAUD, id="id", label=pl.col("fraud"))
    model = tm.Model(DummyClassifier(), features=["n", "large"], prior=0.5)
    watched = pipeline(labels=labels, model=model, profiles=tm.Profiles(window="1h"))
    driver = tm.testing.Driver(watched, stages=stages)
    driver.send([event(driver, number) for number in range(3)])
    driver.send(event(driver, 3, card="another-card", account=None))
    driver.run()
    driver.send_labels({"id": "p0", "fraud": True})
    driver.run()
    assert len(driver.outcomes()) == 1
    assert not driver.rejections()
    rows = sorted(driver.features(), key=lambda row: row["event_id"])
    assert [row["event_key"] for row in rows] == [expected(CARD)] * 3 + [expected("another-card")]
    # Windows are kept by hashes as they would be by values.
    assert [row["n"] for row in rows] == [0, 1, 2, 0]
    assert [row["of_account"] for row in rows][:3] == [0, 1, 2]
    validated = driver.plan.contracts["validated"]
    assert validated.arrow.names == ["id", "card", "account", "amount", "at", "source_partition", "source_offset"]
    assert {record.key for record in records(driver, "payments.validated")} == {
        expected(CARD).encode(),
        expected("another-card").encode(),
    }
    assert {record.key for record in records(driver, "payments.events")} == {CARD.encode(), b"another-card"}
    assert [topic for topic, part in written(driver, without=("events",)) if holds_secret(part)] == []


@pytest.mark.parametrize("stages", ["all", "each"])
def test_a_rejection_has_the_original_bytes_and_a_sentence_that_does_not_quote_them(stages):
    features = [tm.expression(checked=pl.col("amount").cast(pl.Int8) > 1)]
    driver = tm.testing.Driver(pipeline(private=["card"], features=features), stages=stages)
    driver.send(event(driver, 0, amount=1000.0))  # fails in the enrichment
    driver.send_bytes(b"\xc3\x01" + driver.plan.contracts["events"].fingerprint + CARD.encode(), key=CARD.encode())
    driver.send_bytes(b"SECRET", key=CARD.encode())
    driver.send(event(driver, 1, email="SECRET"))
    driver.send(event(driver, 2, card="abc"))
    driver.run()
    found = driver.rejections()
    assert len(found) == 5
    assert {each.stage for each in found} == {"sanity_check", "feature_enrichment"}
    for record in records(driver, "payments.rejected"):
        assert record.key in (CARD.encode(), b"abc")  # so that it can be sent again
        assert not any(holds_secret(value or b"") for _, value in record.headers)
    said = {each.reason: each.message for each in found}
    assert "email=(private)" in said["pattern_mismatch"]
    assert "card=(private)" in said["check_failed"]
    assert "what came is not told" in said["undecodable"]


def test_an_expression_over_a_private_field_that_raises_does_not_say_why():
    check = tm.check("number", pl.col("card").str.to_integer(strict=True) > 0)
    driver = tm.testing.Driver(pipeline(checks=[check]))
    driver.send([event(driver, 0), event(driver, 1, card="17")])
    driver.run()
    (rejection,) = [each for each in driver.rejections() if each.reason == "check_failed"]
    assert "why is private" in rejection.message
    assert "SECRET" not in rejection.message


@pytest.mark.parametrize(
    "changes",
    [{"email": 5}, {"email": "SECRET\ud800"}, {"card": 17}, {"account": "SECRET"}, {"account": 2**70}],
)
def test_producers_errors_do_not_quote_either(changes):
    driver = tm.testing.Driver(pipeline())
    with pytest.raises(tm.EncodeError) as raised:
        driver.send(event(driver, 0, **changes))
    assert "private" in str(raised.value)
    assert not any(part in str(raised.value) for part in ("SECRET", "17", str(2**70)))


def test_constraints_of_private_fields_do_not_quote():
    contract = {
        **PAYMENT,
        "fields": [
            *PAYMENT["fields"][:2],
            {"name": "pin", "type": "string", "private": True, "constraints": {"pattern": "^[0-9]{4}$"}},
            *PAYMENT["fields"][4:],
        ],
    }
    driver = tm.testing.Driver(tm.Pipeline("payments", tm.Events(contract, key="id", time="at", id="id")))
    with pytest.raises(tm.EncodeError, match=r"pin=\(private\)"):
        driver.send({"id": "p", "card": "c", "pin": "SECRET", "amount": 1.0, "at": driver.now})


def test_producers_are_told_by_the_published_contract():
    contract = pipeline().contract
    assert {field.name for field in contract.fields if field.private} == {"card", "email", "account"}
    # Messages are the same.
    assert contract.fingerprint == Contract.parse(PAYMENT).fingerprint


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: pipeline(features=[tm.fields("email")]), "reads 'email', which is private"),
        (lambda: pipeline(features=[tm.expression(at_home=pl.col("email").is_null())]), "reads 'email'"),
        (
            lambda: pipeline(["account"], features=[tm.window("card", over="1h", last=tm.last("account"))]),
            "reads 'account'",
        ),
        (lambda: pipeline(["account"]), "reads 'account'.*hashed"),
        (lambda: pipeline(["emial"]), "no field 'emial'; did you mean 'email'"),
        (lambda: pipeline(["id"]), "cannot be private"),
        (lambda: pipeline(["at"]), "cannot be private"),
        (lambda: pipeline([tm.hashed("amount")]), "expected text or an integer to hash"),
    ],
)
def test_what_would_show_a_private_field_is_refused(make, said):
    with pytest.raises(tm.DeclarationError, match=said):
        make().plan()


def test_other_contracts_have_no_private_fields():
    label = {
        "type": "record",
        "name": "Fraud",
        "fields": [{"name": "id", "type": "string"}, {"name": "fraud", "type": "boolean", "private": True}],
    }
    with pytest.raises(tm.DeclarationError, match="labels cannot have private fields"):
        tm.Labels(label, id="id", label=pl.col("fraud")).check(Contract.parse(label))
    with pytest.raises(SchemaError, match="private: expected true or false"):
        Contract.parse({**label, "fields": [{"name": "id", "type": "string", "private": "yes"}]})


def test_without_a_key_nothing_starts_and_a_pipeline_can_still_be_declared(monkeypatch):
    monkeypatch.delenv(HASH_KEY)
    plan = pipeline().plan()
    with pytest.raises(tm.DeclarationError, match=f"set {HASH_KEY}, or {HASH_KEY_FILE}"):
        plan.make_stages()
    # Who hashes nothing needs none.
    assert pipeline(["email"], key="id", features=[]).plan().make_stages()


def test_where_the_key_comes_from(monkeypatch, tmp_path):
    assert hash_key() == KEY.encode()
    monkeypatch.delenv(HASH_KEY)
    path = tmp_path / "key"
    monkeypatch.setenv(HASH_KEY_FILE, str(path))
    with pytest.raises(tm.DeclarationError, match="cannot be read: No such file"):
        hash_key()
    path.write_text("short SECRET\n")
    with pytest.raises(tm.DeclarationError, match="16 bytes at least, got 12") as raised:
        hash_key()
    assert "SECRET" not in str(raised.value)
    path.write_text("0123456789abcdef\r\n")
    assert hash_key() == b"0123456789abcdef"


def test_the_hash_is_hmac_sha256_as_any_language_has_it():
    # RFC 4231, test case 2.
    assert keyed_hash(b"Jefe")(b"what do ya want for nothing?") == "5bdcc146bf60754e6a042426089575c7"


def test_a_pipeline_without_private_fields_keeps_its_version():
    assert (
        "private"
        not in tm.Pipeline(
            "payments",
            tm.Events(
                {**PAYMENT, "fields": [f for f in PAYMENT["fields"] if f["name"] != "email"]},
                key="card",
                time="at",
                id="id",
            ),
        )
        .plan()
        .description
    )
