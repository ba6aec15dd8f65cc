//! An allocator beside a model that can be read at a glance (`ALGORITHM.md`, law A5): sixteen
//! addresses, who owns and who holds each, and who waits. After every step both must agree.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use proptest::prelude::*;
use proptest::test_runner::Config as Runs;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use weave_ipam::{
    Allocator, Answer, Config, Event, InitMode, Message, Outcome, PeerId, Ring, Span, State,
    Ticket, Transmit,
};

const US: PeerId = PeerId(1);
const OTHER: PeerId = PeerId(2);
const SIZE: usize = 16;
const NOW: Duration = Duration::ZERO;

// ===== the model =====

#[derive(Clone, Debug)]
struct Model {
    /// Which addresses are ours.
    mine: [bool; SIZE],
    /// What each ident holds, in the order it got it.
    held: BTreeMap<u8, Vec<usize>>,
    /// Who waits for an address, in the order of asking.
    waiting: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Step {
    Allocate(u8),
    Claim(u8, usize),
    Release(u8),
    Cancel(u8),
    /// The other peer asks for space.
    Asked,
    /// The other peer gives us some of its space.
    Given(usize, usize),
    /// We ask the allocator to start again from its snapshot.
    Restart,
}

impl Model {
    fn is_free(&self, address: usize) -> bool {
        self.mine[address] && self.holder(address).is_none()
    }

    fn holder(&self, address: usize) -> Option<u8> {
        let mut held = self.held.iter();
        held.find(|(_, addresses)| addresses.contains(&address))
            .map(|(ident, _)| *ident)
    }

    /// First and last address of the subnet are not for hosts.
    fn lowest_free(&self) -> Option<usize> {
        (1..SIZE - 1).find(|address| self.is_free(*address))
    }

    /// The address `ident` gets, if there is one.
    fn allocate(&mut self, ident: u8) -> Option<usize> {
        if let Some(held) = self.held.get(&ident) {
            return held.first().copied();
        }
        let address = self.lowest_free()?;
        self.held.entry(ident).or_default().push(address);
        Some(address)
    }

    /// Free addresses have come: those who wait get them in order.
    fn serve(&mut self) {
        for ident in std::mem::take(&mut self.waiting) {
            if self.allocate(ident).is_none() {
                self.waiting.push(ident);
            }
        }
    }

    /// What is given away: not only an edge, which no host can have.
    fn donation(&self) -> Option<Span> {
        let hosts = span(1, SIZE - 1);
        let is_usable = |block: &Span| block.intersection(hosts).is_some();
        let block = self.block_in(0, SIZE).filter(is_usable);
        block.or_else(|| self.block_in(1, SIZE - 1))
    }

    /// The largest aligned block of free addresses, the highest of equal ones, or its upper half if
    /// it is more than half of everything free there.
    fn block_in(&self, mut start: usize, last: usize) -> Option<Span> {
        let free = (start..last)
            .filter(|address| self.is_free(*address))
            .count();
        let mut best: Option<Span> = None;
        while start < last {
            let end = (start..last).find(|a| !self.is_free(*a)).unwrap_or(last);
            let block = span(start, end).largest_block();
            if !block.is_empty() && best.is_none_or(|best| block.size() >= best.size()) {
                best = Some(block);
            }
            start = end + 1;
        }
        let block = best?;
        if block.size() <= u128::try_from(free / 2).unwrap() {
            return Some(block);
        }
        Span::new(block.start() + block.size() / 2, block.end())
    }
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        let mut mine = [false; SIZE];
        mine[..SIZE / 2].fill(true);
        Just(Self {
            mine,
            held: BTreeMap::new(),
            waiting: Vec::new(),
        })
        .boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Step> {
        let ident = 0..12_u8;
        let address = 1..SIZE - 1;
        prop_oneof![
            6 => ident.clone().prop_map(Step::Allocate),
            2 => (ident.clone(), address).prop_map(|(ident, at)| Step::Claim(ident, at)),
            4 => ident.clone().prop_map(Step::Release),
            1 => ident.prop_map(Step::Cancel),
            2 => Just(Step::Asked),
            2 => (0..SIZE, 1..5_usize)
                .prop_map(|(from, size)| Step::Given(from, (from + size).min(SIZE))),
            1 => Just(Step::Restart),
        ]
        .boxed()
    }

    fn preconditions(state: &Self, step: &Step) -> bool {
        match step {
            Step::Allocate(ident) | Step::Claim(ident, _) => !state.waiting.contains(ident),
            Step::Cancel(ident) => state.waiting.contains(ident),
            Step::Given(from, to) => (*from..*to).all(|address| !state.mine[address]),
            Step::Release(_) | Step::Asked | Step::Restart => true,
        }
    }

    fn apply(mut state: Self, step: &Step) -> Self {
        match *step {
            Step::Allocate(ident) => {
                if state.allocate(ident).is_none() {
                    state.waiting.push(ident);
                }
            }
            Step::Claim(ident, address) => {
                if state.is_free(address) {
                    state.held.entry(ident).or_default().push(address);
                }
            }
            Step::Release(ident) => {
                state.held.remove(&ident);
                state.serve();
            }
            Step::Cancel(ident) => state.waiting.retain(|other| *other != ident),
            Step::Asked => {
                if let Some(given) = state.donation() {
                    for number in given.start()..given.end() {
                        state.mine[place(number)] = false;
                    }
                }
            }
            Step::Given(from, to) => {
                state.mine[from..to].fill(true);
                state.serve();
            }
            Step::Restart => state.waiting.clear(),
        }
        state
    }
}

// ===== the allocator =====

struct Real {
    allocator: Allocator,
    /// The other peer's copy of the ring.
    ring: Ring,
    tickets: BTreeMap<u8, Ticket>,
}

impl Real {
    fn start(snapshot: Option<weave_ipam::Snapshot>) -> Allocator {
        let config = Config::new(universe(), US)
            .init(InitMode::Seed(vec![US, OTHER]))
            .hold(Duration::ZERO);
        let mut allocator = Allocator::new(config, snapshot).unwrap();
        allocator.handle_reachable(NOW, [OTHER].into(), 1);
        allocator
    }

    fn says(&mut self, message: Message) {
        self.allocator.handle_unicast(NOW, OTHER, message);
    }

    /// Messages go out, the other peer learns what we know, answers come in.
    fn settle(&mut self) -> Vec<(Ticket, Answer)> {
        while let Some(transmit) = self.allocator.poll_transmit() {
            if let Transmit::Unicast { to, .. } = transmit {
                assert_eq!(to, OTHER);
            }
        }
        self.ring.merge(self.allocator.ring(), |_| false).unwrap();
        let mut answers = Vec::new();
        while let Some(event) = self.allocator.poll_event() {
            match event {
                Event::Settled { ticket, result } => answers.push((ticket, result.unwrap())),
                Event::RingEstablished => {}
                other => panic!("nothing else happens: {other:?}"),
            }
        }
        answers
    }

    fn forget(&mut self, ticket: Ticket) -> u8 {
        let found = self.tickets.iter().find(|(_, other)| **other == ticket);
        let ident = *found.unwrap().0;
        self.tickets.remove(&ident);
        ident
    }
}

struct Beside;

impl StateMachineTest for Beside {
    type SystemUnderTest = Real;
    type Reference = Model;

    fn init_test(_: &Model) -> Real {
        let allocator = Real::start(None);
        let mut ring = Ring::new(weave_ipam::AddressRange::of(universe()), OTHER);
        ring.form(&[US, OTHER]);
        let tickets = BTreeMap::new();
        let mut real = Real {
            allocator,
            ring,
            tickets,
        };
        real.settle();
        real
    }

    fn apply(mut real: Real, model: &Model, step: Step) -> Real {
        match step {
            Step::Allocate(ident) => {
                match real
                    .allocator
                    .allocate(NOW, &name(ident), None, true)
                    .unwrap()
                {
                    Outcome::Ready(address) => {
                        assert_eq!(place_of(address.addr()), model.held[&ident][0]);
                    }
                    Outcome::Pending(ticket) => {
                        assert!(model.waiting.contains(&ident));
                        real.tickets.insert(ident, ticket);
                    }
                }
            }
            Step::Claim(ident, at) => {
                let address = IpNet::new(address(at), 28).unwrap();
                let outcome = real.allocator.claim(NOW, &name(ident), address, true);
                let is_met = matches!(outcome, Ok(Outcome::Ready(())));
                assert_eq!(is_met, model.holder(at) == Some(ident));
                if let Ok(Outcome::Pending(ticket)) = outcome {
                    assert!(!model.mine[at], "only another's address is waited for");
                    assert!(real.allocator.cancel(ticket));
                }
            }
            Step::Release(ident) => {
                let _ = real.allocator.delete(NOW, &name(ident));
            }
            Step::Cancel(ident) => {
                let ticket = real.tickets.remove(&ident).unwrap();
                assert!(real.allocator.cancel(ticket));
            }
            Step::Asked => {
                let range = weave_ipam::AddressRange::of(universe());
                real.says(Message::SpaceRequest(range));
            }
            Step::Given(from, to) => {
                real.ring.grant(span(from, to), US).unwrap();
                let ring = Some(Arc::new(real.ring.clone()));
                real.says(Message::RingUpdate(State {
                    ring,
                    ..State::default()
                }));
            }
            Step::Restart => {
                real.allocator = Real::start(Some(real.allocator.snapshot()));
                real.tickets.clear();
            }
        }
        for (ticket, answer) in real.settle() {
            let ident = real.forget(ticket);
            let Answer::Address(address) = answer else {
                panic!("an allocation is answered by an address");
            };
            assert_eq!(place_of(address.addr()), model.held[&ident][0]);
        }
        real
    }

    fn check_invariants(real: &Real, model: &Model) {
        for at in 0..SIZE {
            let owner = real
                .allocator
                .ring()
                .owner(start() + u128::try_from(at).unwrap());
            assert_eq!(owner == Some(US), model.mine[at], "owner of address {at}");
        }
        let held: BTreeMap<String, Vec<usize>> = real
            .allocator
            .owned()
            .map(|(ident, held)| {
                let places = held.iter().map(|address| place_of(address.addr()));
                (ident.to_owned(), places.collect())
            })
            .collect();
        let expected: BTreeMap<String, Vec<usize>> = model
            .held
            .iter()
            .map(|(ident, held)| (name(*ident), held.clone()))
            .collect();
        assert_eq!(held, expected);
        assert_eq!(
            real.allocator.status().pending_allocates.len(),
            model.waiting.len()
        );
        let free = (0..SIZE).filter(|at| model.is_free(*at)).count();
        let counted = real.allocator.space().count_free(span(0, SIZE));
        assert_eq!(counted, u128::try_from(free).unwrap());
    }
}

prop_state_machine! {
    #![proptest_config(Runs { cases: 400, failure_persistence: None, ..Runs::default() })]

    #[test]
    fn an_allocator_does_what_the_model_does(sequential 1..80 => Beside);
}

// ===== addresses as places =====

fn universe() -> IpNet {
    "10.0.0.16/28".parse().unwrap()
}

fn start() -> u128 {
    weave_ipam::address::number(universe().addr())
}

fn place(number: u128) -> usize {
    usize::try_from(number - start()).unwrap()
}

fn place_of(address: IpAddr) -> usize {
    place(weave_ipam::address::number(address))
}

fn address(place: usize) -> IpAddr {
    weave_ipam::Family::V4.address(start() + u128::try_from(place).unwrap())
}

fn span(from: usize, to: usize) -> Span {
    let at = |place| start() + u128::try_from(place).unwrap();
    Span::new(at(from), at(to)).unwrap()
}

fn name(ident: u8) -> String {
    format!("pod{ident}")
}
