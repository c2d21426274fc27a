"""Orders of a test shop, stitched by the running binary as docs/stitching.md says: with the hooks and without them.

Functions are real handlers under the real instrumentations, AWS is moto, and the driver knows who really caused whom.
"""

import dataclasses

import pytest

from hopline import edges, told, until
from story import (TEAMS, Story, an_order, asynchronous, batch, capital_header, fan_out, one_after_the_other, poll, retries,
                   two_orders)

every_team = pytest.mark.parametrize("team", TEAMS)
both = pytest.mark.parametrize("hooks", [False, True], ids=["stock", "hooks"])


@pytest.fixture(scope="session")
def play(cloud, hop):
    """Plays a story, once."""
    played = {}

    def play(what, team, hooks):
        if (what, team, hooks) not in played:
            played[what, team, hooks] = Story(cloud, hop, team, hooks, what)
        return played[what, team, hooks]

    return play


def certainty(edge, sender, receiver):
    """Of an edge without the hooks, by the languages on both sides; none if it is not seen."""
    if edge.hop in ("http", "lambda.invoke"):
        return "exact"
    if edge.hop == "sqs":
        # Node's consumers note the ids of messages, and Python's link the context that Node's senders put into them.
        return "inferred" if (sender, receiver) == ("python", "python") else "exact"
    return None


def seen(story, certainty=certainty):
    """The edges that should be found."""
    if story.hooks:
        return set(story.truth)
    found = {edge: certainty(edge, *story.languages[edge]) for edge in story.truth}
    # The parent alone does not say that a call was one by HTTP; the gateway's id does.
    hops = {"http": "call"}
    return {dataclasses.replace(e, hop=hops.get(e.hop, e.hop), certainty=c) for e, c in found.items() if c}


def connected(all_edges, start):
    """The edges that hang together with an end."""
    ends, found = {start}, set()
    while True:
        more = {e for e in all_edges - found if e.sender in ends or e.receiver in ends}
        if not more:
            return found
        found |= more
        ends |= {end for e in more for end in (e.sender, e.receiver)}


def flows(hop, story):
    """Each of the story's flows once, and an invocation in it."""
    known = set()
    for invocation in story.invocations:
        if invocation.id not in known:
            flow = hop.flow_of(invocation)
            known |= {end for edge in edges(flow) for end in (edge.sender, edge.receiver)}
            yield invocation, flow


def check(hop, story, certainty=certainty):
    """The flows have the edges that hang together, and no others."""
    expected = seen(story, certainty)
    for invocation, flow in flows(hop, story):
        assert edges(flow) == connected(expected, invocation.id), told(flow)
        assert not flow["cuts"], told(flow)


@both
@every_team
def test_an_order(play, hop, team, hooks):
    check(hop, play(an_order, team, hooks))


@every_team
def test_an_order_with_hooks_is_one_flow(play, hop, team):
    story = play(an_order, team, True)
    flow = hop.flow(story.trace_id)
    assert edges(flow) == set(story.truth), told(flow)
    traces = {t["trace_id"] for t in flow["traces"]}
    for invocation in story.invocations[3::4]:
        assert {t["trace_id"] for t in hop.flow_of(invocation)["traces"]} == traces
    assert flow["shapes"] == ["fan_out", "orchestration"]
    assert flow["missing"]["parents"] == 0
    assert all(e["synchronous"] == (e["hop"] in ("http", "lambda.invoke")) for e in flow["edges"])
    assert all(e["wait_ns"] >= 0 and e["candidates"] == 1 and not e["fan_out"] for e in flow["edges"])
    places = {e["hop"]: e.get("destination") for e in flow["edges"]}
    assert places["sqs"] == f"orders-{story.name}" and places["s3"] == f"audit-{story.name}"
    assert places["kinesis"] == f"clicks-{story.name}" and places["stepfunctions"] == f"refund-{story.name}"
    assert places["sns"] in (f"priced-{story.name}", f"shipped-{story.name}") and places["dynamodb.stream"] == "orders"
    # Between caller and callee of one trace there is nothing to wait for.
    waits = [e["hop"] for e in flow["edges"] if e["rule"] != "parent" or not e["synchronous"]]
    assert sorted(r["hop"] for r in flow["rows"] if r["row"] == "hop") == sorted(waits)


@both
@every_team
def test_one_trace_where_the_conventions_allow_it(play, hop, team, hooks):
    story = play(an_order, team, hooks)
    ids = {i.id: i.function.language for i in story.invocations}
    for _, flow in flows(hop, story):
        for edge in flow["edges"]:
            sender, receiver = (ids.get(edge[end].get("invocation_id")) for end in ("from", "to"))
            # Python puts context into the payload, which both read; Node into the client context, which the hook for Node reads.
            one = {"http": True, "call": True, "lambda.invoke": sender == "python" or hooks and receiver == "node"}
            # A notification's context is in its attributes; of SQS the conventions want links.
            one["sns"] = edge.get("destination") == f"priced-{story.name}"
            is_one = edge["from"]["trace_id"] == edge["to"]["trace_id"]
            assert is_one == one.get(edge["hop"], False), edge


@every_team
def test_nothing_is_missing_with_hooks(play, hop, team):
    missing = hop.flow(play(an_order, team, True).trace_id)["missing"]
    # In SNS's envelope in a message of SQS, the notification's id says it all: nobody else sent that message.
    assert (missing["sent"], missing["received"]) == ([], [])


def test_a_flow_is_drawn(play, hop):
    story = play(an_order, "python-node", True)
    drawn = hop.drawn(story.trace_id)
    assert drawn.startswith("flow of ") and " · 12 edges · " in drawn
    for place in ("sqs orders", "s3 audit", "kinesis clicks", "stepfunctions refund"):
        assert f"⇢ {place}-{story.name}" in drawn
    for id_ in (story.invocations[3].id, story.message, story.object):
        assert hop.drawn(id_) == drawn, id_


@both
@every_team
def test_retries_and_the_dead_letter_queue(play, hop, team, hooks):
    def certainty(edge, sender, receiver):
        # Of Python's consumers nobody knows which of several had the message.
        return "exact" if edge.hop != "sqs" or (sender, receiver) != ("python", "python") else None

    story = play(retries, team, hooks)
    check(hop, story, certainty)
    flow = hop.flow(story.trace_id)
    shapes = {"retries": any(e.retry for e in edges(flow)), "dead_letter": any(e.dead_letter for e in edges(flow))}
    assert {shape: shape in flow["shapes"] for shape in shapes} == shapes


@both
@every_team
def test_orders_one_after_the_other_are_not_mixed_up(play, hop, team, hooks):
    def certainty(edge, sender, receiver):
        # Of Python's functions: each could have sent it.
        return None if edge.hop == "s3" or edge.hop == "sqs" and (sender, receiver) == ("python", "python") else "exact"

    check(hop, play(one_after_the_other, team, hooks), certainty)


@both
@pytest.mark.parametrize("team", ["python", "node"])
def test_an_asynchronous_invocation_is_tried_again(play, hop, team, hooks):
    story = play(asynchronous, team, hooks)
    flow = hop.flow(story.trace_id)
    assert edges(flow) == seen(story), told(flow)
    assert "retries" in flow["shapes"]


@pytest.mark.parametrize("team", ["python-node", "node-python"])
def test_a_notification_that_two_functions_have(play, hop, team):
    story = play(fan_out, team, True)
    check(hop, story)
    flow = hop.flow(story.trace_id)
    assert [e["fan_out"] for e in flow["edges"] if e["hop"] == "sns"] == [True] * 3
    assert {"fan_out", "retries"} <= set(flow["shapes"])


@both
@every_team
def test_two_orders_in_one_batch_stay_two(play, hop, team, hooks):
    def certainty(edge, sender, receiver):
        # Of Python's senders and consumers: each could have sent it.
        return None if edge.hop == "sns" or edge.hop == "sqs" and (sender, receiver) == ("python", "python") else "exact"

    story = play(two_orders, team, hooks)
    expected = seen(story, certainty)
    stitched = any(e.hop == "sqs" for e in expected)
    for trace_id, other, api, other_api in zip(
            story.trace_ids, story.trace_ids[::-1], story.invocations, story.invocations[1::-1]):
        flow = hop.flow(trace_id)
        traces = {t["trace_id"] for t in flow["traces"]}
        assert trace_id in traces and other not in traces
        of_other = {e for e in expected if e.receiver == other_api.id or e.sender == other_api.id}
        assert edges(flow) == connected(expected - of_other, api.id), told(flow)
        assert [(c["reason"], c["traces"]) for c in flow["cuts"]] == ([("batch", [other])] if stitched else [])


@both
@every_team
def test_a_batch_that_is_sent_by_one_call(play, hop, team, hooks):
    def certainty(edge, sender, receiver):
        # Python's senders note the first message's id; Node's none, but they put context into each.
        return "inferred" if edge.hop == "sqs" and sender == receiver else "exact"

    check(hop, play(batch, team, hooks), certainty)


@both
@every_team
def test_a_polled_queue(play, hop, team, hooks):
    def certainty(edge, sender, receiver):
        # Node's consumers note the ids only of messages with context, which Python's senders do not give.
        return "inferred" if edge.hop == "sqs" and (sender, receiver) == ("python", "node") else "exact"

    check(hop, play(poll, team, hooks), certainty)


@both
@pytest.mark.parametrize("team", ["python", "node"])
def test_a_header_with_a_capital(play, hop, team, hooks):
    check(hop, play(capital_header, team, hooks), lambda *_: "exact" if team == "python" else None)


@both
@every_team
def test_invocations_and_functions(play, hop, team, hooks):
    story = play(retries, team, hooks)
    functions = {i.function.name: i.function for i in story.invocations}
    overview = until("all functions", lambda: _overview(hop, functions.keys()))
    for function in functions.values():
        invocations = hop.get("/api/v1/invocations", function=function.name, order="oldest", limit=1000)["invocations"]
        assert [i["id"] for i in invocations] == [i.id for i in function.invocations]
        assert all(i["instance"] == function.instance and i["has_span"] and not i["has_report"] for i in invocations)
        outcomes = ["error" if i.error else "ok" for i in function.invocations]
        assert [i["outcome"] for i in invocations] == outcomes
        # Python's instrumentation does not say which start is a cold one, and the platform's records are not there.
        first = {"python": "unknown", "node": "cold"}[function.language]
        starts = [first] + ["warm"] * (len(invocations) - 1)
        assert [i["start_type"] for i in invocations] == starts
        figures = overview[function.name]
        assert (figures["invocations"], figures["errors"]) == (len(invocations), outcomes.count("error"))
        assert {k: n for k, n in figures["start_types"].items() if n} == {k: starts.count(k) for k in starts}


def _overview(hop, names):
    found = {f["function"]: f for f in hop.get("/api/v1/functions", start="-1h", limit=1000)["functions"]}
    return found if names <= found.keys() else None
