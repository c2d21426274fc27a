//! Puts the spans of a trace, or of a flow, in the order in which a waterfall shows them.
//!
//! Takes ids, start times and durations by row number; gives the rows in pre-order,
//! children by start time, with depth and counts. Any input is fine: missing parents,
//! several roots, ids that occur twice, spans that enclose each other in a circle.
//! Takes O(n log n) time, and no recursion.

use std::collections::HashMap;

use hopline_model::SpanId;

/// What the tree needs to know of one span.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    pub(super) id: SpanId,
    pub(super) parent: Option<SpanId>,
    pub(super) start: i64,
    pub(super) duration: i64,
}

/// When a row began, and how long it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timed {
    pub(super) start: i64,
    pub(super) duration: i64,
}

/// What stands above a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Above {
    /// Nothing.
    Nothing,
    /// A row that is not stored.
    Missing,
    /// The row with this number.
    Row(usize),
}

/// One row of the waterfall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    /// Number of the node in the input.
    pub(super) node: usize,
    /// Number of the parent's row in the output; -1 for a root.
    pub(super) parent_row: i32,
    /// How many rows enclose it.
    pub(super) depth: u32,
    /// Number of direct children.
    pub(super) children: u32,
    /// Number of rows below it.
    pub(super) descendants: u32,
    /// Time in which no child ran.
    pub(super) self_time: i64,
    /// Why it stands where it stands.
    pub(super) place: Place,
}

/// Why a row stands where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It has no parent.
    Root,
    /// Under its parent.
    Child,
    /// It names a parent that is not stored: shown as a root.
    MissingParent,
    /// It is among its own ancestors: shown as a root.
    Circle,
}

/// The rows of spans in pre-order.
pub(super) fn place(nodes: &[Node]) -> Vec<Placed> {
    let times: Vec<Timed> = nodes.iter().map(|n| Timed { start: n.start, duration: n.duration }).collect();
    let mut order: Vec<usize> = (0..nodes.len()).collect();
    order.sort_by_key(|i| nodes.get(*i).map(|n| (n.start, n.id, *i)));
    // Of spans with one id (client and server may share it) the earliest gets the children.
    let mut by_id: HashMap<SpanId, usize> = HashMap::with_capacity(nodes.len());
    for i in &order {
        if let Some(node) = nodes.get(*i) {
            by_id.entry(node.id).or_insert(*i);
        }
    }
    let above = |node: &Node| match node.parent.map(|parent| by_id.get(&parent)) {
        None => Above::Nothing,
        Some(None) => Above::Missing,
        Some(Some(parent)) => Above::Row(*parent),
    };
    let above: Vec<Above> = nodes.iter().map(above).collect();
    arrange_in(&times, &above, order)
}

/// The rows in pre-order, those with one parent by start and then by number.
pub(super) fn arrange(times: &[Timed], above: &[Above]) -> Vec<Placed> {
    let mut order: Vec<usize> = (0..times.len()).collect();
    order.sort_by_key(|i| times.get(*i).map(|t| (t.start, *i)));
    arrange_in(times, above, order)
}

fn arrange_in(times: &[Timed], above: &[Above], order: Vec<usize>) -> Vec<Placed> {
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); times.len()];
    let mut roots = Vec::new();
    for i in &order {
        match above.get(*i) {
            Some(Above::Row(parent)) => {
                if let Some(children) = children.get_mut(*parent) {
                    children.push(*i);
                }
            }
            Some(Above::Missing) => roots.push((*i, Place::MissingParent)),
            Some(Above::Nothing) | None => roots.push((*i, Place::Root)),
        }
    }
    let mut walk = Walk { times, children, placed: Vec::with_capacity(times.len()), seen: vec![false; times.len()] };
    for (root, place) in roots {
        walk.tree(root, place);
    }
    // What was not reached from a root is in a circle, or below one.
    for i in order {
        if walk.seen.get(i) == Some(&false) {
            walk.tree(i, Place::Circle);
        }
    }
    let mut placed = walk.placed;
    count(&mut placed, times);
    placed
}

struct Walk<'a> {
    times: &'a [Timed],
    children: Vec<Vec<usize>>,
    placed: Vec<Placed>,
    seen: Vec<bool>,
}

impl Walk<'_> {
    /// Places a node and all that is below it.
    fn tree(&mut self, root: usize, place: Place) {
        let mut waiting = vec![(root, -1, 0, place)];
        while let Some((node, parent_row, depth, place)) = waiting.pop() {
            match self.seen.get_mut(node) {
                Some(seen) if !*seen => *seen = true,
                _ => continue,
            }
            let row = i32::try_from(self.placed.len()).unwrap_or(i32::MAX);
            let self_time = self.times.get(node).map_or(0, |n| n.duration);
            self.placed.push(Placed { node, parent_row, depth, children: 0, descendants: 0, self_time, place });
            let children = self.children.get_mut(node).map(std::mem::take).unwrap_or_default();
            waiting.extend(children.into_iter().rev().map(|child| (child, row, depth + 1, Place::Child)));
        }
    }
}

/// Fills the counts and the self time: rows below come behind, so from the last to the first.
fn count(placed: &mut [Placed], times: &[Timed]) {
    for i in (0..placed.len()).rev() {
        let Some(Placed { parent_row, descendants, .. }) = placed.get(i).copied() else { continue };
        if let Some(parent) = usize::try_from(parent_row).ok().and_then(|p| placed.get_mut(p)) {
            parent.children += 1;
            parent.descendants += descendants + 1;
        }
    }
    // In pre-order the children of a row come by start time: what is covered grows from left to right.
    let mut covered_to: Vec<i64> = placed.iter().map(|p| times.get(p.node).map_or(i64::MIN, |n| n.start)).collect();
    for i in 0..placed.len() {
        let Some((row, child)) = placed.get(i).and_then(|p| Some((*p, times.get(p.node)?))) else { continue };
        let Ok(parent) = usize::try_from(row.parent_row) else { continue };
        let (Some(covered), Some(above)) = (covered_to.get_mut(parent), placed.get_mut(parent)) else { continue };
        let Some(span) = times.get(above.node) else { continue };
        let end = child.start.saturating_add(child.duration).min(span.start.saturating_add(span.duration));
        let start = child.start.max(*covered);
        if end > start {
            above.self_time = above.self_time.saturating_sub(end - start);
            *covered = end;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn id(n: u64) -> SpanId {
        SpanId(n.to_be_bytes())
    }

    /// Nodes as `id parent start duration`, parent 0 for none; expected rows as `id parent-row depth children descendants`.
    #[track_caller]
    fn check(nodes: &[(u64, u64, i64, i64)], expected: &[(u64, i32, u32, u32, u32, Place)]) {
        let nodes: Vec<Node> = nodes
            .iter()
            .map(|(n, p, start, duration)| Node {
                id: id(*n),
                parent: (*p != 0).then(|| id(*p)),
                start: *start,
                duration: *duration,
            })
            .collect();
        let rows: Vec<_> = place(&nodes)
            .into_iter()
            .map(|p| {
                let n = u64::from_be_bytes(nodes[p.node].id.0);
                (n, p.parent_row, p.depth, p.children, p.descendants, p.place)
            })
            .collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn children_stand_below_their_parent_by_start() {
        check(
            &[(4, 2, 30, 1), (3, 1, 50, 10), (2, 1, 10, 40), (1, 0, 0, 100)],
            &[
                (1, -1, 0, 2, 3, Place::Root),
                (2, 0, 1, 1, 1, Place::Child),
                (4, 1, 2, 0, 0, Place::Child),
                (3, 0, 1, 0, 0, Place::Child),
            ],
        );
    }

    #[test]
    fn a_missing_parent_makes_a_root() {
        check(
            &[(2, 9, 5, 1), (1, 0, 3, 1), (3, 2, 6, 1)],
            &[(1, -1, 0, 0, 0, Place::Root), (2, -1, 0, 1, 1, Place::MissingParent), (3, 1, 1, 0, 0, Place::Child)],
        );
    }

    #[test]
    fn circles_end() {
        check(
            &[(1, 2, 0, 1), (2, 1, 1, 1), (3, 3, 2, 1), (4, 2, 3, 1)],
            &[
                (1, -1, 0, 1, 2, Place::Circle),
                (2, 0, 1, 1, 1, Place::Child),
                (4, 1, 2, 0, 0, Place::Child),
                (3, -1, 0, 0, 0, Place::Circle),
            ],
        );
    }

    #[test]
    fn one_id_twice_is_two_rows() {
        check(
            &[(1, 0, 0, 10), (1, 0, 1, 5), (2, 1, 2, 1)],
            &[(1, -1, 0, 1, 1, Place::Root), (2, 0, 1, 0, 0, Place::Child), (1, -1, 0, 0, 0, Place::Root)],
        );
    }

    #[test]
    fn self_time_leaves_out_what_children_cover_once() {
        let node = |n, p: u64, start, duration| Node { id: id(n), parent: (p != 0).then(|| id(p)), start, duration };
        // Two children overlap, a third runs on after the parent has ended.
        let nodes = [node(1, 0, 0, 100), node(2, 1, 10, 30), node(3, 1, 20, 30), node(4, 1, 90, 50)];
        let times: Vec<_> = place(&nodes).iter().map(|p| p.self_time).collect();
        assert_eq!(times, [50, 30, 30, 50]);
    }

    #[test]
    fn a_deep_chain_and_a_wide_fan_take_no_stack() {
        let chain: Vec<Node> = (1..=200_000u64)
            .map(|n| Node { id: id(n), parent: (n > 1).then(|| id(n - 1)), start: n as i64, duration: 1 })
            .collect();
        assert_eq!(place(&chain).last().unwrap().depth, 199_999);
        let fan: Vec<Node> = (1..=200_000u64)
            .map(|n| Node { id: id(n), parent: (n > 1).then(|| id(1)), start: 0, duration: 1 })
            .collect();
        assert_eq!(place(&fan)[0].children, 199_999);
    }
}
