"""Reads OTLP/JSON values into Python's, types kept."""

import base64


def value(v):
    """The Python value of an `AnyValue`."""
    if not v:
        return None
    (kind, inner), = v.items()
    match kind:
        case "intValue":
            return int(inner)
        case "doubleValue":
            return float(inner)
        case "bytesValue":
            return base64.b64decode(inner)
        case "arrayValue":
            return [value(x) for x in inner.get("values", [])]
        case "kvlistValue":
            return attributes(inner.get("values", []))
    return inner


def attributes(pairs):
    """A dictionary of a list of `KeyValue`s."""
    return {p.get("key", ""): value(p.get("value")) for p in pairs or []}


def spans(trace):
    """All (resource attributes, scope, span) of a `TracesData`."""
    return [
        (attributes(r.get("resource", {}).get("attributes")), s.get("scope", {}), span)
        for r in trace["resourceSpans"]
        for s in r["scopeSpans"]
        for span in s["spans"]
    ]
