"""Keys: the identity of a message, event, object or call, the same on both sides of a hop.

A key is written `kind:identity`. A span says which keys it sent in `hopline.link.out` and which it received in
`hopline.link.in`. docs/stitching.md has the list of kinds.
"""

import hashlib

# Hopline takes no more keys of one span, and no longer identity.
KEYS_MAX = 128
ID_BYTES_MAX = 2048
# Of a Firehose record, to be known by its content.
CONTENT_BYTES_MIN = 32


def text(value):
    """`value`, if it is a text; else the empty text."""
    return value if isinstance(value, str) else ""


def table(value):
    """`value`, if it is a dictionary; else an empty one."""
    return value if isinstance(value, dict) else {}


def rows(value):
    """The dictionaries in `value`, if it is a list; else none."""
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def key(kind, *parts, by=":"):
    """The key, as a list of one; an empty list if a part of its identity is missing."""
    if not all(isinstance(part, str) and part for part in parts):
        return []
    identity = by.join(parts)
    return [f"{kind}:{identity}"] if len(identity.encode("utf-8", "replace")) <= ID_BYTES_MAX else []


def spread(items, most):
    """At most `most` of `items`, evenly spaced, the first and the last among them."""
    if len(items) <= most:
        return items
    return [items[i * (len(items) - 1) // (most - 1)] for i in range(most)] if most > 1 else items[:most]


def choose(messages):
    """The keys to write for `messages` (a list of keys each, the most telling first), and how many had to stay out.

    When there are too many, each message keeps its most telling key before any gets a second one.
    """
    chosen, known, dropped, tier = [], set(), 0, 0
    while True:
        of_tier = [keys[tier] for keys in messages if len(keys) > tier]
        if not of_tier:
            return chosen, dropped
        new = []
        for one in of_tier:
            if one not in known:
                known.add(one)
                new.append(one)
        kept = spread(new, KEYS_MAX - len(chosen))
        dropped += len(new) - len(kept)
        chosen += kept
        tier += 1


def arn_tail(arn, before):
    """What follows `before` in an ARN, up to the next slash or colon: the name of a stream or a table."""
    _, found, tail = text(arn).partition(before)
    return tail.replace(":", "/").split("/")[0] if found else ""


def arn_region(arn):
    parts = text(arn).split(":")
    return parts[3] if len(parts) > 5 else ""


def s3_object(bucket, name, etag, version):
    """The keys of one state of an object. An access point's ARN is no bucket name: events name the bucket."""
    if text(bucket).startswith("arn:"):
        return []
    version = "" if version == "null" else version
    return key("s3.ver", bucket, name, version, by="|") + key("s3.obj", bucket, name, text(etag).strip('"'), by="|")


def firehose_content(stream, data):
    """The key of a record by its content: its reader is given another record id than its writer.

    Short contents are left out: they are likely to be written more than once.
    """
    if len(data) < CONTENT_BYTES_MIN:
        return []
    return key("firehose", stream, "sha256", hashlib.sha256(data).hexdigest()[:32])
