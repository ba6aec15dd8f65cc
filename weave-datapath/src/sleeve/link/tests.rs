use super::*;

const UID: u64 = 0x1122_3344_5566_7788;
const FROM: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::new(192, 168, 0, 1), 6783);
const MOVED: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::new(192, 168, 0, 1), 40_000);
const HEARTBEAT: Special = Special::Heartbeat { uid: UID };

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn link(remote: Option<SocketAddrV4>) -> Link {
    Link::new(Config {
        uid: UID,
        remote,
        sealed: false,
    })
}

fn transmits(link: &mut Link) -> Vec<Transmit> {
    std::iter::from_fn(|| link.poll_transmit()).collect()
}

fn events(link: &mut Link) -> Vec<Event> {
    std::iter::from_fn(|| link.poll_event()).collect()
}

fn heartbeats(sent: &[Transmit]) -> usize {
    sent.iter()
        .filter(|sent| matches!(sent, Transmit::Special { special, .. } if *special == HEARTBEAT))
        .count()
}

/// A dialler that is established with an old peer at time 0.
fn established() -> Link {
    let mut link = link(Some(FROM));
    link.confirm(ms(0));
    link.handle_special(ms(0), HEARTBEAT, FROM);
    link.handle_control(ms(0), &[tag::ACK]);
    transmits(&mut link);
    events(&mut link);
    link
}

#[test]
fn nothing_leaves_before_the_connection_is_confirmed() {
    let mut link = link(Some(FROM));
    link.handle_timeout(ms(1000));
    link.handle_special(ms(1000), HEARTBEAT, FROM);
    link.handle_special(ms(1000), Special::LargeProbe, FROM);
    assert_eq!(transmits(&mut link), []);
    assert_eq!(link.poll_timeout(), None);
}

#[test]
fn an_acceptor_waits_for_the_first_call_and_answers_it() {
    let mut link = link(None);
    link.confirm(ms(0));
    link.handle_timeout(ms(500));
    assert_eq!(
        transmits(&mut link),
        [Transmit::Control(Note::ours().emit())]
    );

    link.handle_special(ms(600), HEARTBEAT, FROM);
    let sent = transmits(&mut link);
    assert_eq!(heartbeats(&sent), 1);
    assert!(sent.contains(&Transmit::Control(vec![tag::ACK])));
    assert_eq!(
        events(&mut link),
        [Event::Moved {
            from: None,
            to: FROM
        }]
    );
    link.handle_special(ms(700), HEARTBEAT, FROM);
    assert_eq!(
        transmits(&mut link),
        [],
        "one ack, and no answer to a known address"
    );
}

#[test]
fn a_call_for_another_connection_is_not_heard() {
    let mut link = link(None);
    link.confirm(ms(0));
    transmits(&mut link);
    link.handle_special(ms(0), Special::Heartbeat { uid: UID + 1 }, FROM);
    assert_eq!(link.remote(), None);
    assert_eq!(transmits(&mut link), []);
}

#[test]
fn an_old_peer_is_called_every_half_second_and_then_every_ten() {
    let mut link = link(Some(FROM));
    link.confirm(ms(0));
    assert_eq!(heartbeats(&transmits(&mut link)), 1);
    link.handle_timeout(ms(499));
    assert_eq!(heartbeats(&transmits(&mut link)), 0);
    link.handle_timeout(ms(500));
    assert_eq!(heartbeats(&transmits(&mut link)), 1);

    link.handle_control(ms(600), &[tag::ACK]);
    let sent = transmits(&mut link);
    assert!(sent.contains(&Transmit::AskPathMtu { to: FROM }));
    assert!(sent.contains(&Transmit::Special {
        to: FROM,
        stream: Stream::Fragmented,
        special: Special::LargeProbe
    }));
    assert_eq!(events(&mut link), [Event::Established]);
    link.handle_timeout(ms(10_599));
    assert_eq!(heartbeats(&transmits(&mut link)), 0);
    link.handle_timeout(ms(10_600));
    assert_eq!(heartbeats(&transmits(&mut link)), 1);
}

#[test]
fn silence_is_noticed_and_forgiven() {
    let mut link = established();
    link.handle_timeout(ms(59_999));
    assert!(link.is_working());
    link.handle_timeout(ms(60_000));
    assert_eq!(
        events(&mut link),
        [Event::Unhealthy(Silence::Here(PATIENCE))]
    );
    assert!(!link.is_working());
    link.handle_special(ms(90_000), HEARTBEAT, FROM);
    assert_eq!(events(&mut link), [Event::Healthy]);
    assert!(link.is_working());
}

#[test]
fn two_of_ours_notice_silence_within_two_seconds() {
    let mut link = established();
    link.handle_control(ms(100), &Note::ours().emit());
    assert_eq!(heartbeats(&transmits(&mut link)), 1);
    link.handle_special(ms(100), HEARTBEAT, FROM);
    link.handle_timeout(ms(600));
    assert_eq!(heartbeats(&transmits(&mut link)), 1);
    link.handle_timeout(ms(2_099));
    assert!(link.is_working());
    link.handle_timeout(ms(2_100));
    assert!(!link.is_working());
    let told = Transmit::Control(Note::Deaf.emit());
    assert!(transmits(&mut link).contains(&told), "the peer is to know");
    link.handle_special(ms(2_700), HEARTBEAT, FROM);
    let told = Transmit::Control(Note::Hears.emit());
    assert_eq!(transmits(&mut link), [told]);
}

#[test]
fn a_peer_that_does_not_hear_us_is_believed() {
    let mut link = established();
    link.handle_control(ms(0), &Note::ours().emit());
    link.handle_special(ms(0), HEARTBEAT, FROM);
    transmits(&mut link);

    link.handle_control(ms(10), &Note::Deaf.emit());
    assert_eq!(events(&mut link), [Event::Unhealthy(Silence::There)]);
    link.handle_special(ms(20), HEARTBEAT, FROM);
    assert_eq!(events(&mut link), [], "that we hear it is no news");
    link.handle_control(ms(30), &Note::Hears.emit());
    assert_eq!(events(&mut link), [Event::Healthy]);
}

#[test]
fn an_old_peer_is_not_told_whether_it_is_heard() {
    let mut link = established();
    link.handle_timeout(ms(60_000));
    let sent = transmits(&mut link);
    assert!(
        !sent.iter().any(|sent| matches!(sent, Transmit::Control(_))),
        "{sent:?}"
    );
}

#[test]
fn a_pace_of_nothing_is_not_believed() {
    let mut link = established();
    link.handle_control(ms(0), &[16, 0, 0]);
    link.handle_special(ms(0), HEARTBEAT, FROM);
    link.handle_timeout(ms(1_499));
    assert!(link.is_working());
}

#[test]
fn the_address_follows_heartbeats_only() {
    let mut link = established();
    link.handle_special(ms(10), Special::LargeProbe, MOVED);
    assert_eq!(link.remote(), Some(FROM));
    link.handle_special(ms(20), HEARTBEAT, MOVED);
    assert_eq!(
        events(&mut link),
        [Event::Moved {
            from: Some(FROM),
            to: MOVED
        }]
    );
    assert!(transmits(&mut link).iter().any(|sent| matches!(
        sent,
        Transmit::Special { to, special, .. } if *to == MOVED && *special == HEARTBEAT
    )));
}

#[test]
fn probes_are_answered_in_the_old_words() {
    let mut link = established();
    link.handle_special(ms(0), Special::LargeProbe, FROM);
    link.handle_special(ms(0), Special::SizeProbe { mtu: 1438 }, FROM);
    assert_eq!(
        transmits(&mut link),
        [
            Transmit::Control(vec![2]),
            Transmit::Control(vec![3, 0x05, 0x9e])
        ]
    );
}

#[test]
fn the_path_is_measured_once_the_kernel_has_told_its_limit() {
    let mut link = established();
    assert_eq!(link.mtu(), 65_535);
    link.handle_path_mtu(ms(1), 1500);
    assert_eq!(link.mtu(), 1438);
    assert_eq!(link.max_payload(), 1472);
    let first = transmits(&mut link)[0].clone();
    let special = Special::SizeProbe { mtu: 1438 };
    assert_eq!(
        first,
        Transmit::Special {
            to: FROM,
            stream: Stream::Whole,
            special
        }
    );
    link.handle_control(ms(2), &[3, 0x05, 0x9e]);
    assert_eq!(link.mtu(), 1438);
    assert_eq!(events(&mut link), [Event::Path]);
}

#[test]
fn whether_fragments_arrive_is_asked_again() {
    let mut link = established();
    link.handle_control(ms(0), &[tag::LARGE_PROBE_ARRIVED]);
    assert!(link.fragments_arrive());
    link.handle_timeout(ms(300_000));
    assert!(link.fragments_arrive(), "until the answer is overdue");
    link.handle_timeout(ms(305_000));
    assert!(!link.fragments_arrive());
}

#[test]
fn nonsense_over_tcp_is_ignored() {
    let mut link = established();
    for message in [&[][..], &[0], &[3], &[3, 1], &[16], &[16, 1], &[99, 1, 2]] {
        link.handle_control(ms(0), message);
    }
    assert!(link.is_working());
    assert_eq!(transmits(&mut link), []);
}
