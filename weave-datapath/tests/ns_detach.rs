//! Detaching pods on the real kernel: in any state, any number of times.
#![cfg(feature = "netlink")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use scratch::{Scratch, attached, host, host_ends, request, root};
use weave_datapath::{
    attach::{self, Error},
    netns::{Namespace, named_path},
};

async fn detach(host: &Scratch, id: &str, pod: Option<&Scratch>) -> Result<bool, Error> {
    let netns = pod.map(|pod| &pod.namespace);
    attach::detach_from(&host.namespace, id, netns, "eth0").await
}

#[tokio::test]
async fn detaching_twice_is_fine() {
    if !root() {
        return;
    }
    let (host, _) = host().await;
    let pod = Scratch::new("pod");
    attached(&host, &request(&pod, "twice00", "10.32.0.2/12")).await;

    assert!(detach(&host, "twice00", Some(&pod)).await.unwrap());
    assert!(!detach(&host, "twice00", Some(&pod)).await.unwrap());
    assert!(!detach(&host, "twice00", None).await.unwrap());
    assert!(host_ends(&host).await.is_empty());
}

#[tokio::test]
async fn detaching_without_the_namespace_removes_only_this_containers_links() {
    if !root() {
        return;
    }
    let (host, _) = host().await;
    let (one, two) = (Scratch::new("one"), Scratch::new("two"));
    let (mine, other) = ("samesame-1", "samesame-2");
    attached(&host, &request(&one, mine, "10.32.0.2/12")).await;
    let kept = attached(&host, &request(&two, other, "10.32.0.3/12")).await;
    assert_eq!(host_ends(&host).await.len(), 2);

    let removed = detach(&host, mine, None).await.unwrap();

    assert!(removed);
    assert_eq!(host_ends(&host).await, [kept.host.name]);
}

#[tokio::test]
async fn detaching_after_the_namespace_died_finds_nothing_or_removes_it() {
    if !root() {
        return;
    }
    let (host, _) = host().await;
    let pod = Scratch::new("pod");
    attached(&host, &request(&pod, "dying00", "10.32.0.2/12")).await;
    let path = named_path(&pod.name);
    drop(pod);

    assert!(Namespace::open(path).is_err_and(|error| error.is_gone()));
    // The kernel may or may not have cleaned up by itself yet.
    detach(&host, "dying00", None).await.unwrap();

    assert!(host_ends(&host).await.is_empty());
}

#[tokio::test]
async fn a_host_end_of_weave_net_without_alias_is_removed_by_its_name() {
    if !root() {
        return;
    }
    let (host, _) = host().await;
    let netlink = host.netlink();
    netlink
        .create_veth("vethweplaaaaaaa", "x", 1500)
        .await
        .unwrap();

    assert!(detach(&host, "aaaaaaaaaaaa1", None).await.unwrap());
    assert!(host_ends(&host).await.is_empty());
}
