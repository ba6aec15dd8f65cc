//! A host and a pod as network namespaces, joined through the bridge `weave`, and removed again.

use std::error::Error;

use weave_datapath::attach::{Request, attach_from};
use weave_datapath::bridge::{Config, ensure_in};
use weave_datapath::netlink::{Netlink, mac_text};
use weave_datapath::netns::Namespace;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let host = Namespace::create_named("example-host")?;
    let pod = Namespace::create_named("example-pod")?;

    let result = join(&host, pod).await;

    Namespace::delete_named("example-pod")?;
    Namespace::delete_named("example-host")?;
    result
}

async fn join(host: &Namespace, pod: Namespace) -> Result<(), Box<dyn Error>> {
    let bridge = ensure_in(host, &Config::new([2, 0, 0, 0, 0, 1], 1376)).await?;
    Netlink::open_in(host)?
        .add_address(bridge.index, "10.32.0.1/12".parse()?)
        .await?;

    let mut request = Request::new("0123456789ab", pod, "eth0");
    request.addresses = vec!["10.32.0.2/12".parse()?];
    request.gateways = vec!["10.32.0.1".parse()?];
    let attached = attach_from(host, &request).await?;

    for step in &attached.changes {
        println!("{step}");
    }
    println!(
        "{} has MAC {}",
        attached.pod.name,
        mac_text(attached.pod.mac)
    );
    Ok(())
}
