//! Running a plan on the kernel.

use super::{Bridge, Config, Error, Observed, Step, plan, plan::settings, plan::undo};
use crate::{
    netlink::{self, Netlink},
    netns::Namespace,
    sysctl,
};

/// Makes bridge and pair as `config` says, in the network namespace of the calling thread.
///
/// Idempotent: adopts what is there, repairs what differs, creates what is missing. On failure
/// removes what it created.
///
/// # Errors
/// See [`Error`].
pub async fn ensure(config: &Config) -> Result<Bridge, Error> {
    ensure_in(&Namespace::current()?, config).await
}

/// [`ensure`] in the namespace `host`.
///
/// # Errors
/// See [`Error`].
pub async fn ensure_in(host: &Namespace, config: &Config) -> Result<Bridge, Error> {
    let failed = |source| failure(config, source);
    let netlink = Netlink::open_in(host).map_err(failed)?;
    let steps = plan(config, &observe(&netlink, host, config).await?)?;
    let mut done = Vec::new();
    for step in &steps {
        if let Err(error) = apply(&netlink, host, config, step).await {
            return Err(take_back(&netlink, host, config, &done, error).await);
        }
        tracing::info!(bridge = %config.name, %step, "bridge changed");
        done.push(step.clone());
    }
    let end = |name| netlink.require_link(name);
    let (bridge, port, datapath) =
        tokio::try_join!(end(&config.name), end(&config.port), end(&config.datapath))
            .map_err(failed)?;
    Ok(Bridge {
        index: bridge.index,
        port_index: port.index,
        datapath_index: datapath.index,
        datapath_mac: datapath.mac.unwrap_or_default(),
        changes: done,
    })
}

/// Deletes bridge and pair in the network namespace of the calling thread; pods lose their network.
///
/// Returns the names deleted.
///
/// # Errors
/// [`Error::Foreign`] when an interface of one of our names is something else; the rest is deleted
/// all the same.
pub async fn remove(config: &Config) -> Result<Vec<String>, Error> {
    remove_in(&Namespace::current()?, config).await
}

/// [`remove`] in the namespace `host`.
///
/// # Errors
/// As [`remove`].
pub async fn remove_in(host: &Namespace, config: &Config) -> Result<Vec<String>, Error> {
    let netlink = Netlink::open_in(host).map_err(|source| failure(config, source))?;
    let mut removed = Vec::new();
    let mut outcome = Ok(());
    for (name, kind) in [
        (&config.port, "veth"),
        (&config.datapath, "veth"),
        (&config.name, "bridge"),
    ] {
        match remove_one(&netlink, config, name, kind).await {
            Ok(true) => removed.push(name.clone()),
            Ok(false) => {}
            Err(error) => outcome = outcome.and(Err(error)),
        }
    }
    outcome.map(|()| removed)
}

async fn remove_one(
    netlink: &Netlink,
    config: &Config,
    name: &str,
    kind: &'static str,
) -> Result<bool, Error> {
    let failed = |source| failure(config, source);
    let Some(link) = netlink.link_by_name(name).await.map_err(failed)? else {
        return Ok(false);
    };
    if !link.is_kind(kind) {
        let found = link.kind.unwrap_or_else(|| "physical device".to_owned());
        return Err(Error::Foreign {
            name: name.to_owned(),
            found,
            wanted: kind,
        });
    }
    netlink.delete_link(link.index).await.map_err(failed)?;
    Ok(true)
}

async fn observe(netlink: &Netlink, host: &Namespace, config: &Config) -> Result<Observed, Error> {
    let (bridge, port, datapath) = tokio::try_join!(
        netlink.link_by_name(&config.name),
        netlink.link_by_name(&config.port),
        netlink.link_by_name(&config.datapath),
    )
    .map_err(|source| failure(config, source))?;
    let wanted = settings(config);
    let settings = host
        .run_async(move || sysctl::read(wanted.iter().map(|setting| &setting.key)))
        .await?;
    Ok(Observed {
        bridge,
        port,
        datapath,
        settings,
    })
}

async fn apply(
    netlink: &Netlink,
    host: &Namespace,
    config: &Config,
    step: &Step,
) -> Result<(), Error> {
    if let Step::Set(setting) = step {
        let wanted = setting.clone();
        let written = host.run_async(move || wanted.write()).await?;
        return match written {
            Ok(_) => Ok(()),
            Err(source) => Err(Error::Setting {
                setting: setting.to_string(),
                source,
            }),
        };
    }
    apply_link(netlink, step)
        .await
        .map_err(|source| failure(config, source))
}

async fn apply_link(netlink: &Netlink, step: &Step) -> Result<(), netlink::Error> {
    let index = async |name: &str| netlink.require_link(name).await.map(|link| link.index);
    match step {
        Step::CreateBridge { name, mac, mtu } => {
            netlink.create_bridge(name, Some(*mac), *mtu).await
        }
        Step::CreatePair { name, peer, mtu } => netlink.create_veth(name, peer, *mtu).await,
        Step::Delete(name) => match netlink.link_by_name(name).await? {
            Some(link) => netlink.delete_link(link.index).await,
            // Its peer was deleted before, and took it along.
            None => Ok(()),
        },
        Step::Mac(name, mac) => netlink.set_mac(index(name).await?, *mac).await,
        Step::Mtu(name, mtu) => netlink.set_mtu(index(name).await?, *mtu).await,
        Step::StpOff(name) => netlink.set_stp(index(name).await?, false).await,
        Step::Master(name, None) => netlink.set_master(index(name).await?, None).await,
        Step::Master(name, Some(master)) => {
            let master = index(master).await?;
            netlink.set_master(index(name).await?, Some(master)).await
        }
        Step::HairpinOff(name) => netlink.set_hairpin(index(name).await?, false).await,
        Step::QdiscOff(name) => netlink.delete_root_qdisc(index(name).await?).await,
        Step::Alias(name, alias) => netlink.set_alias(index(name).await?, alias).await,
        Step::Up(name) => netlink.set_up(index(name).await?).await,
        // Written by the caller, inside the namespace.
        Step::Set(_) => Ok(()),
    }
}

async fn take_back(
    netlink: &Netlink,
    host: &Namespace,
    config: &Config,
    done: &[Step],
    error: Error,
) -> Error {
    let mut left_behind = None;
    for step in undo(done) {
        if let Err(Error::Netlink { source, .. }) = apply(netlink, host, config, &step).await {
            tracing::warn!(bridge = %config.name, %step, error = %source, "cannot undo");
            left_behind = Some(source);
        }
    }
    match error {
        Error::Netlink { name, source, left } => Error::Netlink {
            name,
            source,
            left: left.or_else(|| left_behind.map(Box::new)),
        },
        other => other,
    }
}

fn failure(config: &Config, source: netlink::Error) -> Error {
    Error::Netlink {
        name: config.name.clone(),
        source,
        left: None,
    }
}
