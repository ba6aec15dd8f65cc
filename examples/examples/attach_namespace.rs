//! An existing network namespace joined to a Weave bridge: looked at first, attached, attached again
//! (nothing to do), used, detached. Needs root.
//!
//! Without arguments it makes a host and a pod of its own. With `NAMESPACE ADDRESS/LEN [GATEWAY]` it
//! attaches `/run/netns/NAMESPACE` to the bridge `weave` of this host and leaves it attached.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};

use weave_datapath::attach::{self, Request};
use weave_datapath::bridge;
use weave_datapath::netlink::Netlink;
use weave_datapath::netns::{Namespace, named_path};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.as_slice() {
        [] => demonstrate().await,
        [name, address, rest @ ..] if rest.len() < 2 => {
            let host = Namespace::current()?;
            let pod = Namespace::open(named_path(name))?;
            let request = request(name, pod, address, rest.first())?;
            show(&host, &request).await
        }
        _ => Err("give nothing, or NAMESPACE ADDRESS/LEN [GATEWAY]".into()),
    }
}

fn request(
    id: &str,
    pod: Namespace,
    address: &str,
    gateway: Option<&String>,
) -> Result<Request, Box<dyn Error>> {
    let mut request = Request::new(id, pod, "eth0");
    request.addresses = vec![address.parse()?];
    let gateway: Option<IpAddr> = gateway.map(|text| text.parse()).transpose()?;
    request.gateways = gateway.into_iter().collect();
    Ok(request)
}

/// Says what is missing, does it, and says what is missing then.
async fn show(host: &Namespace, request: &Request) -> Result<(), Box<dyn Error>> {
    println!("to do:");
    for step in attach::preview_from(host, request).await? {
        println!("  {step}");
    }
    let done = attach::attach_from(host, request).await?;
    println!("{} is port {}", done.pod.name, done.host.name);

    let again = attach::attach_from(host, request).await?;
    println!("to do the second time: {} steps", again.changes.len());
    Ok(())
}

async fn demonstrate() -> Result<(), Box<dyn Error>> {
    let host = Namespace::create_named("example-host")?;
    let pod = Namespace::create_named("example-pod")?;

    let outcome = attach_and_use(&host, pod).await;

    Namespace::delete_named("example-pod")?;
    Namespace::delete_named("example-host")?;
    outcome
}

async fn attach_and_use(host: &Namespace, pod: Namespace) -> Result<(), Box<dyn Error>> {
    let bridge = bridge::ensure_in(host, &bridge::Config::new([2, 0, 0, 0, 0, 1], 1376)).await?;
    let gateway: IpAddr = "10.32.0.1".parse()?;
    Netlink::open_in(host)?
        .add_address(bridge.index, "10.32.0.1/12".parse()?)
        .await?;

    let gateway_text = gateway.to_string();
    let request = request("0123456789ab", pod, "10.32.0.2/12", Some(&gateway_text))?;
    show(host, &request).await?;

    let heard = greet(host, &request.netns, gateway)?;
    println!("the pod heard from the host: {heard}");

    attach::detach_from(host, "0123456789ab", Some(&request.netns), "eth0").await?;
    let left = Netlink::open_in(&request.netns)?
        .link_by_name("eth0")
        .await?;
    println!("detached: {}", left.is_none());
    Ok(())
}

/// A word from the host to the pod over TCP.
fn greet(host: &Namespace, pod: &Namespace, address: IpAddr) -> Result<String, Box<dyn Error>> {
    // A socket belongs to the namespace it was opened in, whoever uses it later.
    let listener = host.run(|| TcpListener::bind((address, 0)))??;
    let target = listener.local_addr()?;
    let mut client = pod.run(|| TcpStream::connect(target))??;
    let (mut server, _) = listener.accept()?;
    server.write_all(b"welcome")?;
    drop(server);
    let mut heard = String::new();
    client.read_to_string(&mut heard)?;
    Ok(heard)
}
