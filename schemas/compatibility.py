"""Whether data and readers survive a changed contract.

Backward: what was written with the old contract can be read with the new one. Forward: what is written with the new one
can be read with the old one. Full: both.

Source: Avro specification, "Schema Resolution"; the rules' names are those of Avro's Java checker and Confluent's
schema registry. The checker of the `avro` library (1.12) is not used: it gives the findings as unordered sets, so
that none can be told to belong to a field, forgets the path below a union, takes an alias for a full name, and looks
at no logical type. The tests hold the two against each other.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from tidemill.schemas.avsc import Node
from tidemill.schemas.constraints import Constraints, tightened
from tidemill.schemas.contract import Contract
from tidemill.schemas.errors import IncompatibleSchema
from tidemill.schemas.matching import Rule, describe, field_of, mismatch, missing_symbols

Direction = Literal["backward", "forward"]
Mode = Literal["full", "backward", "forward"]


@dataclass(frozen=True)
class Incompatibility:
    """One thing that a change breaks.

    `field` is a dotted path (`route.items.origin`; `items` and `values` go into arrays and maps), empty for the record
    itself. `message` says what was written, how it is read, and what to do.
    """

    field: str
    rule: Rule
    message: str
    direction: Direction

    def __str__(self) -> str:
        return f"{self.field or 'the record'}: {self.rule} ({self.direction}): {self.message}"


def check(old: Contract, new: Contract, mode: Mode = "full") -> list[Incompatibility]:
    """Everything that the change from `old` to `new` breaks, in the order of the reader's fields; empty if nothing.

    A tightened constraint counts as backward: events that were good become rejections.
    """
    found: list[Incompatibility] = []
    if mode != "forward":
        found += [Incompatibility(*finding, "backward") for finding in _record("", old.node, new.node, frozenset())]
        found += _tightened(old, new)
    if mode != "backward":
        found += [Incompatibility(*finding, "forward") for finding in _record("", new.node, old.node, frozenset())]
    return found


def require(old: Contract, new: Contract, mode: Mode, where: str) -> None:
    """Raise IncompatibleSchema that lists all that `check` finds; `where` says what changed (a topic, two files)."""
    found = check(old, new, mode)
    if found:
        listed = "\n".join(f"  {finding}" for finding in found)
        raise IncompatibleSchema(f"{where}: {new.name} breaks what uses the earlier schema:\n{listed}")


_Finding = tuple[str, Rule, str]
_Within = frozenset[tuple[int, int]]


def _type(path: str, writer: Node, reader: Node, within: _Within) -> Iterator[_Finding]:
    if writer.type == "union":
        for branch in writer.schemas:
            yield from _branch(path, branch, reader, within)
    elif reader.type == "union":
        yield from _into_union(path, writer, reader, within)
    else:
        yield from _same(path, writer, reader, within)


def _branch(path: str, branch: Node, reader: Node, within: _Within) -> Iterator[_Finding]:
    if branch.type == "null" and reader.type not in ("null", "union"):
        message = f"null may be written, but is read as {describe(reader)}; keep null in the reader's type"
        yield path, Rule.TYPE_MISMATCH, message
    else:
        yield from _type(path, branch, reader, within)


def _into_union(path: str, writer: Node, reader: Node, within: _Within) -> Iterator[_Finding]:
    """The finding of the one branch that comes close, so that it says what is wrong inside; else that there is none."""
    close = [branch for branch in reader.schemas if mismatch(writer, branch) is None]
    findings = [list(_same(path, writer, branch, within)) for branch in close]
    if findings and all(findings):
        yield from findings[0]
    if not findings:
        message = f"{describe(writer)} may be written, but {describe(reader)} has no place for it; add it to the union"
        yield path, Rule.MISSING_UNION_BRANCH, message


def _same(path: str, writer: Node, reader: Node, within: _Within) -> Iterator[_Finding]:
    fault = mismatch(writer, reader)
    if fault:
        yield path, fault.rule, fault.message
        return
    match reader.type:
        case "enum":
            missing = missing_symbols(writer, reader)
            if missing:
                what = f"{', '.join(missing)} may be written, but the reader knows no such symbol"
                yield path, Rule.MISSING_ENUM_SYMBOLS, f'{what}; add it, or give the reader\'s enum a "default"'
        case "array":
            yield from _type(_join(path, "items"), writer.items, reader.items, within)
        case "map":
            yield from _type(_join(path, "values"), writer.values, reader.values, within)
        case "record" | "error":
            yield from _record(path, writer, reader, within)


def _record(path: str, writer: Node, reader: Node, within: _Within) -> Iterator[_Finding]:
    pair = (id(writer), id(reader))
    if pair in within:
        return
    fault = mismatch(writer, reader)
    if fault:
        yield path, fault.rule, fault.message
    for field in reader.fields:
        inner = _join(path, field.name)
        written = field_of(writer, field)
        if written is not None:
            yield from _type(inner, written.type, field.type, within | {pair})
        elif not field.has_default:
            message = f"{field.name!r} is not written, and its reader has no default for it; give it one"
            yield inner, Rule.READER_FIELD_MISSING_DEFAULT_VALUE, message


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _tightened(old: Contract, new: Contract) -> Iterator[Incompatibility]:
    for field in new.node.fields:
        now = new.field(field.name).constraints
        if not now:
            continue
        written = field_of(old.node, field)
        if written is None:
            # Of a new field, all that old events have is its default.
            was, now = Constraints(), Constraints(required=now.required and new.field(field.name).default is None)
        else:
            before = old.field(written.name)
            was = replace(before.constraints, required=before.constraints.required or not before.nullable)
        for change in tightened(was, now):
            message = f"{change}: events that were good would be rejected; widen it, or put them on a new topic"
            yield Incompatibility(field.name, Rule.CONSTRAINT_TIGHTENED, message, "backward")
