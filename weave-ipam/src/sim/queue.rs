//! What is to happen, in the order of time; at one time in the order in which it was planned.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Queue<T> {
    heap: BinaryHeap<Item<T>>,
    planned: u64,
}

#[derive(Debug)]
struct Item<T> {
    at: Duration,
    order: u64,
    what: T,
}

impl<T> Queue<T> {
    pub(super) const fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            planned: 0,
        }
    }

    pub(super) fn plan(&mut self, at: Duration, what: T) {
        self.planned += 1;
        let order = self.planned;
        self.heap.push(Item { at, order, what });
    }

    /// The next thing that is due at `until` or before.
    pub(super) fn next(&mut self, until: Duration) -> Option<(Duration, T)> {
        if self.heap.peek()?.at > until {
            return None;
        }
        self.heap.pop().map(|item| (item.at, item.what))
    }
}

impl<T> PartialEq for Item<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Item<T> {}

impl<T> PartialOrd for Item<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Item<T> {
    /// The earliest is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}
