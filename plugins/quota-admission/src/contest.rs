//! Who goes first when shares are to be fair.
//!
//! Two heads are compared where their ways to the root meet: there, the child
//! with the smaller share after admission goes first. That relation alone is no
//! order: of two heads in one child, the one that goes first may have the larger
//! share above, with a head of another child between the two. Hence a contest,
//! as in Kueue: every node sends its best head up, the best at the root wins,
//! takes what it gets, and its way is played again. The sort key carries the place.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use loadmaster_sdk::admission::{Head, SortKey};

use crate::heads::Heads;
use crate::rule::Desk;
use crate::time;

/// Source of a node's best head that pays there itself.
const OWN: u32 = u32::MAX;

/// Priority, then age.
pub(crate) fn age_key(head: &Head) -> SortKey {
    vec![-i64::from(head.priority), time(head.created)]
}

/// The best head of a child, as its parent compares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    /// Whether it would make the node that pays borrow.
    borrows: bool,
    /// Share of the child once it is admitted.
    share: i64,
    /// By priority, age and name.
    place: u32,
    child: u32,
}

/// Heads that pay at one node, by place: those that might not borrow, and those
/// that certainly do, since usage only grows in a cycle.
#[derive(Debug, Clone, Copy, Default)]
struct Line {
    /// Start in `by_node`.
    start: u32,
    /// First that nobody has looked at.
    next: u32,
    end: u32,
    /// Those that borrow: moved to the front, `first..last` from `start`.
    first: u32,
    last: u32,
}

struct Contest<'a, 'b> {
    heads: &'a Heads<'b>,
    desk: Desk<'a>,
    /// Heads by place.
    by_place: Vec<u32>,
    /// Places, by node that pays.
    by_node: Vec<u32>,
    lines: Vec<Line>,
    children: Vec<BinaryHeap<Reverse<Entry>>>,
    roots: BinaryHeap<Reverse<Entry>>,
    /// Where each node's best head comes from.
    source: Vec<u32>,
    /// What the best head would add to each resource of each node.
    added: Vec<i64>,
    width: usize,
}

/// One key a head: borrowing or not, place, share, priority, age. Two heads
/// never share a place: what follows it is for people.
pub(crate) fn fair_keys(heads: &Heads<'_>, desk: Desk<'_>) -> Vec<SortKey> {
    let mut keys = vec![SortKey::new(); heads.len()];
    let mut contest = Contest::new(heads, desk);
    let mut place = 0;
    while let Some((head, borrows, share)) = contest.next() {
        let at = heads.get(head);
        keys[head] = vec![
            i64::from(borrows),
            place,
            share,
            -i64::from(at.priority),
            time(at.created),
        ];
        place += 1;
    }
    keys
}

impl<'a, 'b> Contest<'a, 'b> {
    fn new(heads: &'a Heads<'b>, desk: Desk<'a>) -> Self {
        let nodes = desk.tree.nodes();
        let width = desk.tree.resources().len();
        let mut by_place: Vec<u32> = (0..heads.len() as u32)
            .filter(|h| heads.payer(*h as usize).is_some())
            .collect();
        by_place.sort_by(|a, b| {
            let (a, b) = (heads.get(*a as usize), heads.get(*b as usize));
            let age = |h: &Head| (Reverse(h.priority), h.created);
            age(a).cmp(&age(b)).then_with(|| a.job.cmp(&b.job))
        });
        let mut lines = vec![Line::default(); nodes];
        let payer = |head: u32| heads.payer(head as usize).unwrap_or(0);
        for head in &by_place {
            lines[payer(*head)].end += 1;
        }
        let mut start = 0;
        for line in &mut lines {
            (line.start, line.next) = (start, start);
            start += line.end;
            line.end = line.start;
        }
        let mut by_node = vec![0; by_place.len()];
        for (place, head) in by_place.iter().enumerate() {
            let line = &mut lines[payer(*head)];
            by_node[line.end as usize] = place as u32;
            line.end += 1;
        }
        let mut contest = Self {
            heads,
            desk,
            by_place,
            by_node,
            lines,
            children: vec![BinaryHeap::new(); nodes],
            roots: BinaryHeap::new(),
            source: vec![OWN; nodes],
            added: vec![0; nodes * width],
            width,
        };
        for node in (0..nodes).rev() {
            contest.send_up(node);
        }
        contest
    }

    /// The best head that pays at the node itself: place, and whether it borrows.
    fn own_best(&mut self, node: usize) -> Option<(u32, bool)> {
        let line = &mut self.lines[node];
        while line.next < line.end {
            let place = self.by_node[line.next as usize];
            let full = self.heads.full(self.by_place[place as usize] as usize);
            if self.desk.tree.guaranteed(&self.desk.usage, node, full) {
                return Some((place, false));
            }
            // Looked at in order, so that these stay in order too.
            self.by_node[(line.start + line.last) as usize] = place;
            line.last += 1;
            line.next += 1;
        }
        let borrowing = (line.first < line.last).then_some(line.start + line.first);
        borrowing.map(|at| (self.by_node[at as usize], true))
    }

    /// Finds the node's best head and enters it with the node's parent.
    fn send_up(&mut self, node: usize) {
        let own = self.own_best(node).map(|(place, borrows)| {
            let full = self.heads.full(self.by_place[place as usize] as usize);
            let share = self.desk.tree.share_at(&self.desk.usage, node, full);
            Entry {
                borrows,
                share,
                place,
                child: OWN,
            }
        });
        let child = self.children[node].peek().map(|e| e.0);
        let Some(best) = own.into_iter().chain(child).min() else {
            return;
        };
        self.source[node] = best.child;
        let at = node * self.width;
        if best.child == OWN {
            self.added[at..at + self.width].fill(0);
            let head = self.by_place[best.place as usize] as usize;
            for part in self.heads.full(head) {
                self.added[at + part.resource as usize] = part.amount;
            }
        } else {
            let child = best.child as usize;
            for r in 0..self.width {
                let amount = self.added[child * self.width + r];
                let tree = self.desk.tree;
                self.added[at + r] = tree.charged(&self.desk.usage, child, r as u32, amount);
            }
        }
        let entry = Entry {
            share: self.share(node),
            child: node as u32,
            ..best
        };
        match self.desk.tree.parent(node) {
            Some(parent) => self.children[parent].push(Reverse(entry)),
            None => self.roots.push(Reverse(entry)),
        }
    }

    /// Share of the node once its best head is admitted.
    fn share(&self, node: usize) -> i64 {
        let added = &self.added[node * self.width..(node + 1) * self.width];
        self.desk.tree.share(&self.desk.usage, node, added)
    }

    /// The winner: head, whether it borrows, share of the node that pays.
    fn next(&mut self) -> Option<(usize, bool, i64)> {
        let Reverse(best) = self.roots.pop()?;
        let mut node = best.child as usize;
        while self.source[node] != OWN {
            let child = self.source[node] as usize;
            self.children[node].pop();
            node = child;
        }
        let share = self.share(node);
        let line = &mut self.lines[node];
        if best.borrows {
            line.first += 1;
        } else {
            line.next += 1;
        }
        let head = self.by_place[best.place as usize] as usize;
        let outcome = self.desk.decide(self.heads, head);
        self.desk.settle(self.heads, head, &outcome);
        let mut again = Some(node);
        while let Some(node) = again {
            self.send_up(node);
            again = self.desk.tree.parent(node);
        }
        Some((head, best.borrows, share))
    }
}
