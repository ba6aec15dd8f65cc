//! Another plugin that allocates the address, run as the CNI specification's section 4
//! "Plugin Delegation" asks: same environment, same standard input.
//!
//! Its answer is read in every version's shape, but only for addresses, gateways and routes.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::call::Call;
use super::config::Route;
use super::error::{Code, Error};
use super::result::{Address, Attachment};

/// ADD of the plugin called `kind`.
///
/// # Errors
/// When it is not in `CNI_PATH`, cannot be run, fails, or prints no result.
pub(super) async fn add(call: &Call, kind: &str, input: &[u8]) -> Result<Attachment, Error> {
    let output = run(call, kind, "ADD", input, ADD_LIMIT).await?;
    let object: Map<String, Value> = serde_json::from_slice(&output)
        .map_err(|error| Error::new(Code::Decode, format!("IPAM plugin {kind:?}: {error}")))?;
    Ok(Attachment {
        addresses: addresses(&object),
        routes: routes(&object),
        ..Attachment::default()
    })
}

/// DEL of the plugin called `kind`.
///
/// # Errors
/// As [`add`].
pub(super) async fn del(call: &Call, kind: &str, input: &[u8]) -> Result<(), Error> {
    run(call, kind, "DEL", input, DEL_LIMIT).await.map(drop)
}

/// CHECK, STATUS or GC of the plugin called `kind`, whichever `call` is.
///
/// # Errors
/// As [`add`].
pub(super) async fn forward(call: &Call, kind: &str, input: &[u8]) -> Result<(), Error> {
    let command = call.command.as_str();
    run(call, kind, command, input, DEL_LIMIT).await.map(drop)
}

async fn run(
    call: &Call,
    kind: &str,
    command: &str,
    input: &[u8],
    limit: Duration,
) -> Result<Vec<u8>, Error> {
    let program = find(call, kind)?;
    let broken = |reason: String| {
        Error::new(
            Code::Io,
            format!("IPAM plugin {}: {reason}", program.display()),
        )
    };
    let mut child = Command::new(&program)
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", &call.container_id)
        .env("CNI_NETNS", &call.netns)
        .env("CNI_IFNAME", &call.ifname)
        .env("CNI_PATH", call.path.join(":"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| broken(error.to_string()))?;
    let exchange = async {
        if let Some(mut stdin) = child.stdin.take() {
            // A plugin that ends without reading says why on its standard output.
            let _unread = stdin.write_all(input).await;
        }
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(limit, exchange)
        .await
        .map_err(|_| broken(format!("did not finish within {limit:?}")))?
        .map_err(|error| broken(error.to_string()))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said: Option<Map<String, Value>> = serde_json::from_slice(&output.stdout).ok();
    let message = said.as_ref().and_then(|object| object.get("msg")?.as_str());
    Err(broken(
        message.map_or_else(|| output.status.to_string(), str::to_owned),
    ))
}

fn find(call: &Call, kind: &str) -> Result<PathBuf, Error> {
    let plain = !kind.contains('/') && kind != "." && kind != "..";
    let found = call
        .path
        .iter()
        .filter(|_| plain)
        .map(|directory| PathBuf::from(directory).join(kind))
        .find(|path| path.is_file());
    found.ok_or_else(|| {
        let path = call.path.join(" ");
        Error::new(
            Code::Configuration,
            format!("failed to find plugin {kind:?} in path [{path}]"),
        )
    })
}

fn addresses(object: &Map<String, Value>) -> Vec<Address> {
    let new = object
        .get("ips")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let old = ["ip4", "ip6"].into_iter().filter_map(|key| object.get(key));
    let parse = |entry: &Value, key: &str| {
        let address = entry.get(key)?.as_str()?.parse().ok()?;
        let gateway = entry.get("gateway").and_then(|g| g.as_str()?.parse().ok());
        Some(Address { address, gateway })
    };
    new.filter_map(|entry| parse(entry, "address"))
        .chain(old.filter_map(|entry| parse(entry, "ip")))
        .collect()
}

fn routes(object: &Map<String, Value>) -> Vec<Route> {
    let old = ["ip4", "ip6"]
        .into_iter()
        .filter_map(|key| object.get(key)?.get("routes"));
    let lists = object.get("routes").into_iter().chain(old);
    let entries = lists.filter_map(Value::as_array).flatten();
    entries
        .filter_map(|entry| {
            let dst = entry.get("dst")?.as_str()?.parse().ok()?;
            let gw = entry.get("gw").and_then(|gw| gw.as_str()?.parse().ok());
            Some(Route { dst, gw })
        })
        .collect()
}

/// As long as an allocation of our own may take.
const ADD_LIMIT: Duration = Duration::from_secs(25);
/// Releasing is local work.
const DEL_LIMIT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn results_of_every_age_are_read() {
        let new = parse(
            r#"{"ips":[{"address":"10.1.0.5/16","gateway":"10.1.0.1"}],
                "routes":[{"dst":"0.0.0.0/0"}]}"#,
        );
        let old = parse(
            r#"{"ip4":{"ip":"10.1.0.5/16","gateway":"10.1.0.1","routes":[{"dst":"0.0.0.0/0"}]}}"#,
        );

        for object in [new, old] {
            let found = addresses(&object);
            assert_eq!(found[0].address, "10.1.0.5/16".parse().unwrap());
            assert_eq!(found[0].gateway, Some("10.1.0.1".parse().unwrap()));
            assert_eq!(routes(&object).len(), 1);
        }
    }

    #[test]
    fn nonsense_in_a_result_is_no_address() {
        let object = parse(r#"{"ips":[7,{"address":3},{"address":"x"}],"ip4":[],"routes":{}}"#);

        assert!(addresses(&object).is_empty());
        assert!(routes(&object).is_empty());
    }
}
