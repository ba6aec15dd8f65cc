//! From a parsed command to requests, and from answers to output and exit status.

use serde_json::Value;

use super::{Command, Page, attach, bridges, connectivity, expose, names, ps, reset, service, top};
use crate::doctor;
use crate::http::REASON_HEADER;
use crate::http::client::{Client, Error, Response, encode_component};
use crate::launch::environment::Environment;
use crate::launch::install;
use crate::status::model::to_json;
use crate::stdout;

/// What a command prints, and its exit status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    /// For standard output.
    stdout: String,
    /// For standard error.
    stderr: String,
    /// The exit status.
    code: u8,
}

impl Outcome {
    pub(super) fn success(stdout: String) -> Self {
        Self {
            stdout,
            stderr: String::new(),
            code: 0,
        }
    }

    pub(super) fn failure(code: u8, stderr: String) -> Self {
        Self {
            stdout: String::new(),
            stderr,
            code,
        }
    }

    /// The outcome of one request: 2xx prints the body; 404 is status 4 without output; other
    /// answers are status 1 with the body as error; no answer is status 7.
    pub(super) fn of(answer: Result<Response, Error>) -> Self {
        match answer {
            Ok(answer) if answer.is_success() => Self::success(answer.body),
            Ok(answer) if answer.status.as_u16() == 404 => Self::failure(NOT_FOUND, String::new()),
            Ok(answer) => {
                let reason = answer.headers.get(REASON_HEADER);
                let reason = reason.and_then(|reason| reason.to_str().ok());
                let text = answer.body.trim_end();
                let text = reason.map_or_else(|| text.to_owned(), |why| format!("{text}: {why}"));
                Self::failure(1, text)
            }
            Err(error) => Self::failure(UNREACHABLE, error.to_string()),
        }
    }

    /// The outcome of a command with an exit status of its own.
    fn concluded(said: doctor::Said) -> Self {
        match said {
            Ok((stdout, code)) => Self {
                code,
                ..Self::success(stdout)
            },
            Err((stderr, code)) => Self::failure(code, stderr),
        }
    }

    /// The text for standard output, or the outcome when it is a failure.
    pub(super) fn into_body(self) -> Result<String, Self> {
        if self.code == 0 {
            Ok(self.stdout)
        } else {
            Err(self)
        }
    }

    /// Prints, and returns the exit status.
    pub(super) fn print(self) -> u8 {
        stdout::show(&self.stdout);
        if !self.stderr.is_empty() {
            eprintln!("{}", self.stderr.trim_end_matches('\n'));
        }
        self.code
    }

    /// What is wrong, as it would be printed.
    pub(super) fn said(&self) -> String {
        self.stderr.trim_end().to_owned()
    }

    /// Whether nobody answered.
    pub(super) fn is_unreachable(&self) -> bool {
        self.code == UNREACHABLE
    }

    /// Whether the daemon does not serve what was asked for.
    pub(super) fn is_not_found(&self) -> bool {
        self.code == NOT_FOUND
    }

    /// With `stdout` as well.
    pub(super) fn with_output(mut self, stdout: String) -> Self {
        self.stdout = stdout;
        self
    }

    fn failures_become_1(mut self) -> Self {
        self.code = self.code.min(1);
        self
    }
}

/// Runs `command` against the daemon of `client`.
pub(super) async fn run(command: Command, client: &Client) -> Outcome {
    match command {
        Command::Help => Outcome::success(String::new()),
        Command::Completion(text) => Outcome::success(text.to_owned()),
        Command::Version => version(client).await,
        Command::Status { page, json: true } => part_of_report(client, page).await,
        Command::Status { page, json: false } => status(client, page).await,
        Command::Report => Outcome::of(client.get_json("/report").await),
        Command::Html => Outcome::of(client.get("/").await),
        Command::Template(template) => {
            let path = format!("/report?format={}", encode_component(&template));
            Outcome::of(client.get(&path).await).failures_become_1()
        }
        Command::Connect { peers, replace } => {
            let mut form: Vec<(&str, &str)> = peers.iter().map(|peer| ("peer", &**peer)).collect();
            if replace {
                form.push(("replace", "true"));
            }
            Outcome::of(client.post_form("/connect", &form).await)
        }
        Command::Forget(peers) => {
            let form: Vec<(&str, &str)> = peers.iter().map(|peer| ("peer", &**peer)).collect();
            Outcome::of(client.post_form("/forget", &form).await)
        }
        Command::RemovePeers(peers) => remove_peers(client, &peers).await,
        Command::Prime => Outcome::of(client.get("/ring").await),
        Command::Expose {
            addresses,
            masquerade,
            name,
        } => expose::expose(client, &addresses, masquerade, name.as_deref()).await,
        Command::Hide(addresses) => expose::hide(client, &addresses).await,
        Command::DnsAdd(named) => names::add(client, &named).await,
        Command::DnsRemove(named) => names::remove(client, &named).await,
        Command::DnsLookup { name, json } => names::lookup(client, &name, json).await,
        Command::Reset(reset) => reset::run(client, &reset).await,
        Command::Doctor(doctor) => Outcome::concluded(doctor::run(client, &doctor).await),
        Command::Ipam(ipam) => Outcome::concluded(doctor::run_ipam(client, &ipam).await),
        Command::Ps(asked) => ps::run(client, BRIDGE, &asked).await,
        Command::Attach {
            wanted,
            target,
            multicast,
        } => attach::attach(client, &wanted, &target, multicast).await,
        Command::Detach { wanted, target } => attach::detach(client, &wanted, &target).await,
        Command::Connectivity { json } => connectivity::run(client, json).await,
        Command::Top(options) => top::run(client, options).await,
        Command::Setup => setup(),
        Command::BridgeType => bridges::kind().await,
        Command::DnsArgs { search } => names::docker_options(client, search).await,
        Command::AttachBridge(other) => bridges::attach(&other).await,
        Command::Launch(launch) => service::launch(client, &launch).await,
        Command::Stop(prefixes) => service::stop(&prefixes).await,
    }
}

/// Installs the CNI plugins and their configuration on this host.
fn setup() -> Outcome {
    let root = |name: &str| match name {
        "HOST_ROOT" => Some("/".to_owned()),
        name => std::env::var(name).ok(),
    };
    let env = match Environment::read(root) {
        Ok(env) => env,
        Err(wrong) => {
            let lines: Vec<String> = wrong
                .iter()
                .map(|one| format!("environment variable {one}"))
                .collect();
            return Outcome::failure(1, lines.join("\n"));
        }
    };
    match install::install(&env) {
        Ok(_) => Outcome::success(String::new()),
        Err(error) => Outcome::failure(1, error.to_string()),
    }
}

async fn status(client: &Client, page: Page) -> Outcome {
    let path = match page {
        Page::Overview => "/status",
        Page::Targets => "/status/targets",
        Page::Connections => "/status/connections",
        Page::Peers => "/status/peers",
        Page::Dns => "/status/dns",
        Page::Ipam => "/status/ipam",
    };
    let mut outcome = Outcome::of(client.get(path).await).failures_become_1();
    if page == Page::Overview {
        outcome.stdout = format!("\n{}\n", outcome.stdout);
    }
    outcome
}

async fn part_of_report(client: &Client, page: Page) -> Outcome {
    let outcome = Outcome::of(client.get_json("/report").await).failures_become_1();
    let body = match outcome.into_body() {
        Ok(body) => body,
        Err(failure) => return failure,
    };
    let report: Value = match serde_json::from_str(&body) {
        Ok(report) => report,
        Err(error) => {
            return Outcome::failure(1, format!("the daemon's report is not JSON: {error}"));
        }
    };
    let part = match page {
        Page::Overview => &report,
        Page::Targets => &report["Router"]["Targets"],
        Page::Connections => &report["Router"]["Connections"],
        Page::Peers => &report["Router"]["Peers"],
        Page::Dns => &report["DNS"],
        Page::Ipam => &addresses(&report),
    };
    Outcome::success(to_json(part) + "\n")
}

/// What the report says of address allocation; that of a second family is in it, called as there.
fn addresses(report: &Value) -> Value {
    let mut part = report["IPAM"].clone();
    if let (Some(part), Some(second)) = (part.as_object_mut(), report.get("IPAM6")) {
        part.insert("IPAM6".to_owned(), second.clone());
    }
    part
}

/// The daemon's version, or this program's when there is no daemon.
async fn version(client: &Client) -> Outcome {
    let own = env!("CARGO_PKG_VERSION").to_owned();
    let version = match Outcome::of(client.get_json("/report").await).into_body() {
        Ok(body) => serde_json::from_str::<Value>(&body)
            .ok()
            .and_then(|report| report["Version"].as_str().map(str::to_owned))
            .unwrap_or(own),
        Err(_) => own,
    };
    Outcome::success(format!("weave {version}\n"))
}

async fn remove_peers(client: &Client, peers: &[String]) -> Outcome {
    let mut stdout = String::new();
    for peer in peers {
        let path = format!("/peer/{}", encode_component(peer));
        match Outcome::of(client.delete(&path).await).into_body() {
            Ok(body) => stdout.push_str(&body),
            Err(failure) => {
                let failure = failure.failures_become_1();
                return Outcome { stdout, ..failure };
            }
        }
    }
    Outcome::success(stdout)
}

/// `curl`'s exit status, which Weave Net's script passed on.
const UNREACHABLE: u8 = 7;
const NOT_FOUND: u8 = 4;
pub(super) const BRIDGE: &str = "weave";

#[cfg(test)]
mod tests {
    use hyper::{HeaderMap, StatusCode};

    use super::*;

    fn answer(status: StatusCode, body: &str) -> Result<Response, Error> {
        Ok(Response {
            status,
            headers: HeaderMap::new(),
            body: body.to_owned(),
        })
    }

    #[test]
    fn answers_become_exit_statuses() {
        let done = Outcome::of(answer(StatusCode::OK, "fine"));
        let absent = Outcome::of(answer(StatusCode::NOT_FOUND, "404 page not found\n"));
        let refused = Outcome::of(answer(StatusCode::BAD_REQUEST, "no\n"));
        let silent = Outcome::of(Err(Error::Unreachable {
            address: "127.0.0.1:6784".to_owned(),
            reason: "connection refused".to_owned(),
        }));

        assert_eq!(done, Outcome::success("fine".to_owned()));
        assert_eq!(absent, Outcome::failure(4, String::new()));
        assert_eq!(refused, Outcome::failure(1, "no".to_owned()));
        assert_eq!(silent.code, 7);
        let text = "cannot reach weave daemon at 127.0.0.1:6784: connection refused";
        assert_eq!(silent.stderr, text);
    }
}
