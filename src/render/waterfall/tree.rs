//! Which span stands below which, and what is drawn before it.

use std::collections::HashMap;

use super::{Row, Span};

/// Deeper spans are not indented further.
const DEEPEST: usize = 24;

/// The lines, top down: each span after its parent, siblings by start.
pub(super) fn rows(spans: &[Span]) -> Vec<Row<'_>> {
    let mut order: Vec<(usize, &Span)> = spans.iter().enumerate().collect();
    order.sort_by(|(_, a), (_, b)| (a.start, &a.id, is_client(b)).cmp(&(b.start, &b.id, is_client(a))));
    let ids = Ids::of(&order);
    let mut walk =
        Walk { spans, children: vec![Vec::new(); spans.len()], shown: vec![false; spans.len()], rows: Vec::new() };
    let mut roots: Vec<(Option<&str>, Vec<usize>)> = Vec::new();
    let mut missing: HashMap<&str, usize> = HashMap::new();
    for (i, span) in &order {
        match (ids.above(span), &span.parent) {
            (Some(above), _) => {
                if let Some(children) = walk.children.get_mut(above) {
                    children.push(*i);
                }
            }
            (None, None) => roots.push((None, vec![*i])),
            (None, Some(parent)) => {
                let at = *missing.entry(parent).or_insert(roots.len());
                match roots.get_mut(at) {
                    Some((_, orphans)) => orphans.push(*i),
                    None => roots.push((Some(parent), vec![*i])),
                }
            }
        }
    }
    for (missing, top) in roots {
        walk.rows.extend(missing.map(|id| Row::Missing { id }));
        let last = top.len();
        for (n, i) in top.into_iter().enumerate() {
            let lead = if missing.is_some() { branch("", n + 1 == last) } else { String::new() };
            walk.tree(i, lead, false);
        }
    }
    // What is left hangs together in circles.
    for (i, _) in order {
        walk.tree(i, String::new(), true);
    }
    walk.rows
}

fn is_client(span: &Span) -> bool {
    span.kind == "client"
}

/// Finds spans by id. Several may share one.
struct Ids<'a> {
    /// The first with this id that is a client, and the first that is not.
    all: HashMap<&'a str, [Option<usize>; 2]>,
    /// The one with this id in this service; the client's only if there is no other.
    of_service: HashMap<(&'a str, &'a str), usize>,
}

impl<'a> Ids<'a> {
    fn of(order: &[(usize, &'a Span)]) -> Ids<'a> {
        let mut ids = Ids { all: HashMap::with_capacity(order.len()), of_service: HashMap::with_capacity(order.len()) };
        // Those that are not clients first: they have the children, but for the server's half.
        let (clients, others): (Vec<_>, Vec<_>) = order.iter().copied().partition(|(_, span)| is_client(span));
        for (i, span) in others.into_iter().chain(clients) {
            let [client, other] = ids.all.entry(&span.id).or_default();
            if is_client(span) { client } else { other }.get_or_insert(i);
            ids.of_service.entry((&span.id, &span.service)).or_insert(i);
        }
        ids
    }

    /// The span below which `span` stands, if it is there.
    fn above(&self, span: &Span) -> Option<usize> {
        if span.kind == "server"
            && let Some([Some(client), _]) = self.all.get(span.id.as_str())
        {
            return Some(*client);
        }
        let parent = span.parent.as_deref()?;
        let of_service = || self.of_service.get(&(parent, span.service.as_str())).copied();
        let [client, other] = self.all.get(parent)?;
        of_service().or(*other).or(*client)
    }
}

struct Walk<'a> {
    spans: &'a [Span],
    children: Vec<Vec<usize>>,
    shown: Vec<bool>,
    rows: Vec<Row<'a>>,
}

impl Walk<'_> {
    /// Adds a span and all below it, unless they stand there already. No recursion: a trace may be deeper than the
    /// stack.
    fn tree(&mut self, root: usize, lead: String, in_circle: bool) {
        let mut stack = vec![(root, lead, in_circle)];
        while let Some((i, lead, in_circle)) = stack.pop() {
            let (Some(span), Some(shown)) = (self.spans.get(i), self.shown.get_mut(i)) else { continue };
            if std::mem::replace(shown, true) {
                continue;
            }
            let below = below(&lead);
            let children = self.children.get_mut(i).map(std::mem::take).unwrap_or_default();
            let last = children.len();
            let leads = children.into_iter().enumerate().map(|(n, c)| (c, branch(&below, n + 1 == last), false));
            stack.extend(leads.rev());
            self.rows.push(Row::Span { lead, span, in_circle });
        }
    }
}

pub(in crate::render) fn branch(lead: &str, is_last: bool) -> String {
    if lead.chars().count() >= DEEPEST * 3 {
        return lead.to_owned();
    }
    format!("{lead}{}", if is_last { "└─ " } else { "├─ " })
}

/// What stands before the children of a span with this lead.
pub(in crate::render) fn below(lead: &str) -> String {
    if let Some(before) = lead.strip_suffix("└─ ") {
        return format!("{before}   ");
    }
    match lead.strip_suffix("├─ ") {
        Some(before) => format!("{before}│  "),
        None => lead.to_owned(),
    }
}
