"""DynamoDB items: the hash by which the writer of an item and the reader of its stream know it.

SHA-256 over `table|name|value|name|value` (names of the key attributes in the order of their UTF-8 bytes, empty texts in
place of a missing second one), the first 32 hexadecimal digits: the rule of Datadog's span pointers, so both sides may
also be instrumented by Datadog's libraries.
"""

import base64
import decimal
import hashlib
import json
import os

from .keys import arn_tail, table, text

# Each is a JSON object: {"table": ["partition key", "sort key"]}.
SETTINGS = (
    "HOPLINE_DYNAMODB_KEYS",
    "DD_BOTOCORE_DYNAMODB_TABLE_PRIMARY_KEYS",
    "DD_TRACE_DYNAMODB_TABLE_PRIMARY_KEYS",
)
TABLES_MAX = 1000
# DynamoDB's numbers have 38 digits and exponents up to 125.
EXPONENT_MAX = 130

_learned = {}


def table_name(name):
    return arn_tail(name, ":table/") or text(name)


def learn(name, attributes):
    """Remembers which attributes are the primary key of a table."""
    attributes = tuple(sorted(attributes, key=lambda a: a.encode()))
    if 1 <= len(attributes) <= 2 and (len(_learned) < TABLES_MAX or name in _learned):
        _learned[name] = attributes


def learn_schema(description):
    """The same, from a table description."""
    schema = description.get("KeySchema")
    if isinstance(schema, list):
        learn(table_name(description.get("TableName")), [text(table(a).get("AttributeName")) for a in schema])


def load_settings():
    """Reads the names of primary keys from the environment."""
    for setting in SETTINGS:
        try:
            tables = json.loads(os.environ.get(setting) or "{}")
            for name, attributes in tables.items():
                learn(name, attributes)
        except Exception:  # what is not understood is as if it were not there
            continue


def of_key(name, attributes, stream=False):
    """The keys of the item with this primary key: `{"id": {"S": "7"}}`, or `{"id": "7"}` as boto3's tables have it.

    There are two where a number can be written in two ways: the stream has the shortest, the writer may not.
    """
    name, names = table_name(name), sorted(attributes, key=lambda a: a.encode())
    if not name or not 1 <= len(names) <= 2:
        return []
    values = [_forms(attributes[a], stream) for a in names]
    if not all(values):
        return []
    keys = []
    for form in (0, -1):
        parts = [name.encode()]
        for attribute, forms in zip(names, values):
            parts += [attribute.encode(), forms[form]]
        if len(names) == 1:
            parts += [b"", b""]
        one = "ddb.item:" + hashlib.sha256(b"|".join(parts)).hexdigest()[:32]
        if one not in keys:
            keys.append(one)
    return keys


def of_item(name, item):
    """The keys of a whole item, if the primary key of its table is known."""
    name = table_name(name)
    names = _learned.get(name)
    if not names or not all(n in item for n in names):
        return []
    return of_key(name, {n: item[n] for n in names})


def _forms(value, stream):
    """The bytes of a key's value, as it is written and in its shortest form."""
    if isinstance(value, dict):
        kind, value = next(iter(value.items()), ("", None)) if len(value) == 1 else ("", None)
    elif isinstance(value, str):
        kind = "S"
    elif isinstance(value, (int, decimal.Decimal)):
        kind, value = "N", str(value)
    else:
        kind = "B"
    if kind == "S" and isinstance(value, str):
        return [value.encode()]
    if kind == "N" and isinstance(value, str):
        return [value.encode(), _shortest(value).encode()]
    if kind == "B":
        value = getattr(value, "value", value)  # boto3's Binary
        if isinstance(value, str):
            # A stream's event has it in base64; of a writer it is the text itself that botocore sends.
            return [_decoded(value) if stream else value.encode()]
        if isinstance(value, (bytes, bytearray)):
            return [bytes(value)]
    return []


def _decoded(value):
    try:
        return base64.b64decode(value)
    except ValueError:
        return b""


def _shortest(number):
    try:
        value = decimal.Decimal(number)
        if value.is_zero():
            return "0"
        if not value.is_finite() or abs(value.adjusted()) > EXPONENT_MAX:
            return number
        digits = format(value, "f")
        return digits.rstrip("0").rstrip(".") if "." in digits else digits
    except decimal.InvalidOperation:
        return number


load_settings()
