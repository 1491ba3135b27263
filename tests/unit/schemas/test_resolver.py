from tidemill.schemas.contract import Contract
from tidemill.schemas.resolver import KnownSchemas, SchemaSource


def tide(doc):
    return Contract.parse({"type": "record", "name": "T", "doc": doc, "fields": [{"name": "a", "type": "int"}]})


def test_a_contract_is_found_by_its_fingerprint_only():
    first, second = tide("first"), tide("second")
    known: SchemaSource = KnownSchemas([first])
    assert known.by_fingerprint(first.fingerprint) is first
    assert known.by_fingerprint(bytes(8)) is None
    assert known.by_id(1) is None
    assert known.by_guid(bytes(16)) is None
    assert isinstance(known, KnownSchemas)
    known.add(second)
    assert known.by_fingerprint(first.fingerprint) is second
