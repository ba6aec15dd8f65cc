//! Named namespaces on the real kernel, and the sockets opened in them.
#![cfg(feature = "netlink")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use std::{net::UdpSocket, process::Command};

use scratch::{Scratch, root};
use weave_datapath::{
    netlink::Netlink,
    netns::{self, Error, Namespace},
};

#[test]
fn a_created_namespace_is_listed_by_ip_and_gone_after_delete() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("listed");

    // The program is only a witness here; skip its part where it is not installed.
    if let Ok(output) = Command::new("ip").args(["netns", "list"]).output() {
        let names = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(names.contains(&scratch.name), "{names}");
    }
    assert!(netns::list_named().unwrap().contains(&scratch.name));
    assert!(Namespace::delete_named(&scratch.name).unwrap());
    assert!(!Namespace::delete_named(&scratch.name).unwrap());
    assert!(!netns::named_path(&scratch.name).exists());
}

#[test]
fn a_namespace_is_a_fresh_one_and_only_equal_to_itself() {
    if !root() {
        return;
    }
    let (one, other) = (Scratch::new("one"), Scratch::new("other"));
    let again = Namespace::open(netns::named_path(&one.name)).unwrap();

    assert!(one.namespace.is_same_as(&again));
    assert!(!one.namespace.is_same_as(&other.namespace));
    assert!(!one.namespace.is_same_as(&Namespace::current().unwrap()));
    let inside = one.namespace.run(|| Namespace::current().unwrap()).unwrap();
    assert!(inside.is_same_as(&one.namespace));
}

#[test]
fn a_visitor_comes_home_also_when_it_panics() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("visit");
    let home = Namespace::current().unwrap();
    let here = || Namespace::current().unwrap();

    let (inside, thread) = scratch
        .namespace
        .visit(|| (here(), std::thread::current().id()))
        .unwrap();
    assert!(inside.is_same_as(&scratch.namespace));
    assert_eq!(thread, std::thread::current().id());
    assert!(here().is_same_as(&home));

    let visit = || scratch.namespace.visit(|| panic!("on purpose"));
    assert!(std::panic::catch_unwind(visit).is_err());
    assert!(here().is_same_as(&home));
    assert!(home.visit(|| here().is_same_as(&home)).unwrap());
}

#[test]
fn a_name_cannot_be_created_twice() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("twice");

    let second = Namespace::create_named(&scratch.name);

    assert!(matches!(second, Err(Error::Exists { .. })), "{second:?}");
    assert!(Namespace::open(netns::named_path(&scratch.name)).is_ok());
}

#[test]
fn a_leftover_file_is_no_namespace_and_can_be_deleted() {
    if !root() {
        return;
    }
    let name = format!("weave-test-{}-leftover", std::process::id());
    std::fs::create_dir_all("/run/netns").unwrap();
    std::fs::write(netns::named_path(&name), "").unwrap();

    let opened = Namespace::open(netns::named_path(&name));
    let deleted = Namespace::delete_named(&name).unwrap();

    assert!(opened.is_err_and(|error| error.is_gone()));
    assert!(deleted);
}

#[test]
fn a_process_path_opens_and_a_missing_one_is_gone() {
    let own = Namespace::open(format!("/proc/{}/ns/net", std::process::id())).unwrap();
    let missing = Namespace::open("/run/netns/weave-test-no-such");

    assert!(own.is_same_as(&Namespace::current().unwrap()));
    assert!(missing.is_err_and(|error| error.is_gone()));
}

#[test]
fn the_calling_thread_stays_where_it_was_even_when_the_closure_panics() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("panic");
    let before = Namespace::current().unwrap();

    let outcome = std::panic::catch_unwind(|| scratch.namespace.run(|| panic!("on purpose")));

    assert!(outcome.is_err());
    assert!(Namespace::current().unwrap().is_same_as(&before));
}

#[tokio::test]
async fn sockets_stay_in_the_namespace_they_were_opened_in() {
    if !root() {
        return;
    }
    let scratch = Scratch::new("socket");
    let netlink = Netlink::open_in(&scratch.namespace).unwrap();
    let lo = netlink.require_link("lo").await.unwrap();
    netlink.set_up(lo.index).await.unwrap();
    let socket = scratch
        .namespace
        .run_async(|| UdpSocket::bind("127.0.0.1:0").unwrap())
        .await
        .unwrap();

    let names: Vec<_> = netlink
        .links()
        .await
        .unwrap()
        .into_iter()
        .map(|link| (link.name, link.up))
        .collect();

    assert_eq!(names[0], ("lo".to_owned(), true));
    socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
    assert_eq!(socket.recv(&mut [0; 4]).unwrap(), 1);
    let outside = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert_ne!(outside.local_addr().unwrap(), socket.local_addr().unwrap());
}
