"""An order of the test shop, stitched by the running binary as docs/stitching.md says: with the hooks and without them."""

import dataclasses

import pytest

from conftest import edges, told
from story import TEAMS, Story

BOTH = ["stock", "hooks"]


@pytest.fixture(scope="session")
def stories(cloud, hop):
    """Each story is played once."""
    played = {}

    def story(team, hooks):
        if (team, hooks) not in played:
            played[team, hooks] = Story(cloud, hop, team, hooks == "hooks")
        return played[team, hooks]

    return story


def stock(edge, sender, receiver):
    """What becomes of an edge without the hooks, by the languages on both sides."""
    exact = {"http", "lambda.invoke"}
    if edge.hop == "sqs":
        # Node's consumers note the message's id; its senders put context into the message, which Python's consumers link.
        return "inferred" if (sender, receiver) == ("python", "python") else "exact"
    return "exact" if edge.hop in exact else None


def expected(story):
    if story.hooks:
        return set(story.truth)
    found = [(edge, stock(edge, *story.languages[edge])) for edge in story.truth]
    return {dataclasses.replace(edge, certainty=certainty) for edge, certainty in found if certainty}


@pytest.mark.parametrize("hooks", BOTH)
@pytest.mark.parametrize("team", TEAMS)
def test_an_order(stories, hop, team, hooks):
    story = stories(team, hooks)
    found = set()
    for invocation in story.invocations:
        found |= edges(hop.flow_of(invocation))
    assert found == expected(story)
