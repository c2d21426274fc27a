"""Makes AWS event hops exact for Hopline: writes `hopline.link.out` and `hopline.link.in` on OpenTelemetry's own spans.

Stock instrumentation records that a call was made and that a function ran, but seldom which message, event or object it
was. These hooks for its official extension points add just that.

    import hopline_hooks
    hopline_hooks.instrument()          # after the tracer provider is set

or, where the instrumentation is started by yourself:

    BotocoreInstrumentor().instrument(
        request_hook=hopline_hooks.request_hook, response_hook=hopline_hooks.response_hook)
    AwsLambdaInstrumentor().instrument(event_context_extractor=hopline_hooks.event_context_extractor)

or, where a Lambda layer starts it: `hopline_hooks.instrument(aws_lambda=False)`, and `@hopline_hooks.handler` on the handler.

The hooks never raise into the function, change no request and no event, and touch no network.
"""

import functools
import logging
import os
import weakref

from opentelemetry import context as context_api
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from . import calls, events
from .keys import KEYS_MAX, choose, table

try:
    from opentelemetry.sdk.trace import SpanProcessor
except ImportError:  # without the SDK there are no spans to write on
    SpanProcessor = object

__all__ = ["HoplineSpanProcessor", "event_context_extractor", "handler", "instrument", "request_hook", "response_hook"]

LINK_OUT = "hopline.link.out"
LINK_IN = "hopline.link.in"

_log = logging.getLogger(__name__)
_w3c = TraceContextTextMapPropagator()
_pending_key = context_api.create_key("hopline-pending")
_requests = weakref.WeakKeyDictionary()
_providers = weakref.WeakSet()


def _never_raises(otherwise=None):
    """What a hook cannot do must not harm the function."""

    def decorate(hook):
        @functools.wraps(hook)
        def safe(*args, **kwargs):
            try:
                return hook(*args, **kwargs)
            except Exception:  # pylint: disable=broad-except
                _log.debug("hopline hook %s", hook.__name__, exc_info=True)
                return otherwise(*args, **kwargs) if otherwise else None

        return safe

    return decorate


# -- calls to AWS: hooks of BotocoreInstrumentor and AiobotocoreInstrumentor


@_never_raises()
def request_hook(span, service_name, operation_name, api_params):
    """Remembers the request until its answer is there."""
    call = (service_name, operation_name)
    if (call in calls.SENDS or call in calls.RECEIVES) and span.is_recording():
        _requests[span] = api_params


@_never_raises()
def response_hook(span, service_name, operation_name, result):
    """Writes the keys of what the call sent, or received."""
    call = (service_name, operation_name)
    find = calls.SENDS.get(call) or calls.RECEIVES.get(call)
    if find is None or not span.is_recording():
        return
    request, answer = table(_requests.pop(span, None)), table(result)
    if not answer or "Error" in answer:  # refused, or nobody knows
        return
    messages = find(request, answer, _region(span))
    _write_keys(span, LINK_IN if call in calls.RECEIVES else LINK_OUT, messages, 0)


def _region(span):
    attributes = getattr(span, "attributes", None) or {}
    return attributes.get("cloud.region") or attributes.get("aws.region") or os.environ.get("AWS_REGION", "")


# -- events of a function: extractor of AwsLambdaInstrumentor


class _Pending:
    """What is to be written on the invocation's span as soon as it starts."""

    def __init__(self, event, links):
        self.event, self.links, self.taken = event, links, False

    def write(self, span):
        self.taken = True
        _write_keys(span, LINK_IN, self.event.messages, self.event.left_out)
        for of_message, keys in self.links:
            span.add_link(of_message, {LINK_IN: keys} if keys else None)


def _from_headers(lambda_event):
    """The context in HTTP headers, by the propagators that the application chose, whatever the case of their names."""
    headers = {}
    if isinstance(lambda_event, dict):
        for name, value in table(lambda_event.get("headers")).items():
            headers[str(name).lower()] = value
        for name, values in table(lambda_event.get("multiValueHeaders")).items():
            headers[str(name).lower()] = values[0] if isinstance(values, list) and values else None
    headers = {name: value for name, value in headers.items() if isinstance(value, str)}
    return headers, propagate.extract(headers, getter=_Headers())


class _Headers:
    """Reads headers whose names are in lower case, and what a propagator puts together itself as it is."""

    def get(self, carrier, key):
        value = carrier.get(key, carrier.get(key.lower()))
        return None if value is None else [value]

    def keys(self, carrier):
        return list(carrier)


@_never_raises(otherwise=lambda _: Context())
def event_context_extractor(lambda_event):
    """The context in which the invocation's span starts.

    A single message's trace context becomes its parent; of several messages, and of those from SQS, each becomes a link.
    """
    headers, parent = _from_headers(lambda_event)
    return _with_event(lambda_event, parent, bool(headers))


@_never_raises(otherwise=lambda _event, parent, _is_http: parent)
def _with_event(lambda_event, parent, is_http):
    _watch(trace.get_tracer_provider())
    event = events.read(lambda_event)
    links = _contexts(event)
    known = trace.get_current_span(parent).get_span_context().is_valid
    if links and not event.only_links:
        if not (known and is_http):
            parent = trace.set_span_in_context(trace.NonRecordingSpan(links[0][0]), parent)
        links = []
    return context_api.set_value(_pending_key, _Pending(event, links), parent)


def _contexts(event):
    """(span context, keys of its message), each context once."""
    found = {}
    for carrier, keys in event.carriers[:KEYS_MAX]:
        of_message = trace.get_current_span(_w3c.extract(carrier, context=Context())).get_span_context()
        if of_message.is_valid:
            found.setdefault((of_message.trace_id, of_message.span_id), (of_message, keys[:1]))
    return list(found.values())


class HoplineSpanProcessor(SpanProcessor):
    """Writes the keys on the invocation's span: the extractor runs before there is one.

    It is added to the global tracer provider by itself; to any other with `provider.add_span_processor`.
    """

    @_never_raises()
    def on_start(self, span, parent_context=None):
        pending = context_api.get_value(_pending_key, parent_context)
        if pending is not None and not pending.taken and span.kind is trace.SpanKind.SERVER:
            pending.write(span)

    def on_end(self, span):
        pass

    def shutdown(self):
        pass

    def force_flush(self, timeout_millis=30000):
        return True


def handler(function):
    """Decorates a function's handler whose instrumentation is started by somebody else, such as a Lambda layer.

    The keys go on the span that is current when the handler starts; trace context in the event becomes links.
    """

    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        _write_event(args[0] if args else kwargs.get("event"))
        return function(*args, **kwargs)

    return wrapped


@_never_raises()
def _write_event(lambda_event):
    span = trace.get_current_span()
    pending = context_api.get_value(_pending_key)
    if span.is_recording() and (pending is None or not pending.taken):
        event = events.read(lambda_event)
        links = _contexts(event)
        own = span.get_span_context().trace_id
        _Pending(event, [link for link in links if link[0].trace_id != own]).write(span)


# -- all at once


def instrument(tracer_provider=None, aws_lambda=True):
    """Starts the instrumentation of botocore and of the Lambda handler, as far as they are installed, with the hooks.

    What was started before is stopped first: two would make two spans of one call. Under a Lambda layer, which wraps the
    handler while your module is being imported, pass `aws_lambda=False` and decorate the handler.
    """
    _watch(tracer_provider or trace.get_tracer_provider())
    _start("opentelemetry.instrumentation.botocore", "BotocoreInstrumentor", tracer_provider,
           request_hook=request_hook, response_hook=response_hook)
    if aws_lambda and "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
        _start("opentelemetry.instrumentation.aws_lambda", "AwsLambdaInstrumentor", tracer_provider,
               event_context_extractor=event_context_extractor)


def _start(module, name, tracer_provider, **hooks):
    try:
        instrumentor = getattr(__import__(module, fromlist=[name]), name)()
        if instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.uninstrument()
        if tracer_provider is not None:
            hooks["tracer_provider"] = tracer_provider
        instrumentor.instrument(**hooks)
    except ImportError:
        _log.debug("%s is not installed", module)
    except Exception:  # pylint: disable=broad-except
        _log.warning("%s was not started with Hopline's hooks", name, exc_info=True)


def _watch(provider):
    """Adds the span processor, once."""
    if hasattr(provider, "add_span_processor") and provider not in _providers:
        _providers.add(provider)
        provider.add_span_processor(HoplineSpanProcessor())


def _write_keys(span, attribute, messages, left_out):
    keys, dropped = choose(messages)
    if keys:
        span.set_attribute(attribute, keys)
    if dropped + left_out:
        # Said, so that a missing edge can be explained.
        span.set_attribute(attribute + ".dropped", dropped + left_out)
