//! What happens to a cluster, step by step. A step ends with an event, or with why it went wrong;
//! then there are no more steps.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::Step;
use super::stage::Stage;
use crate::lab::error::Error;

/// All steps that are not left out.
///
/// # Errors
/// What went wrong.
pub(super) async fn all(stage: &mut Stage<'_>) -> Result<(), Error> {
    let last = stage.arguments.nodes;
    form(stage).await?;
    if stage.arguments.has(Step::Drain) {
        drain(stage, last).await?;
    }
    if stage.arguments.has(Step::Lose) {
        lose(stage, last - 1).await?;
    }
    if stage.arguments.has(Step::Twin) {
        twin(stage, last + 1).await?;
    }
    if stage.arguments.has(Step::Outage) {
        outage(stage).await?;
    }
    if stage.arguments.has(Step::Absence) {
        absence(stage, 1).await?;
    }
    if stage.arguments.has(Step::Grow) {
        grow(stage, last + 1).await?;
    }
    let pairs = stage.reach().await?;
    let words = format!("at the end all {pairs} pairs of pods reach each other");
    stage.timeline.note(true, words);
    Ok(())
}

/// All nodes start at once, in any order, and get their pods.
async fn form(stage: &mut Stage<'_>) -> Result<(), Error> {
    let begun = Instant::now();
    let order = shuffled(stage.arguments.nodes)?;
    for number in &order {
        stage.join(*number).await?;
    }
    stage.settled().await?;
    let names: Vec<String> = order.iter().map(ToString::to_string).collect();
    let words = format!(
        "nodes {} started in this order and are one ring after {:.1} s",
        names.join(" "),
        begun.elapsed().as_secs_f64()
    );
    stage.timeline.note(true, words);
    for number in 1..=stage.arguments.nodes {
        fill(stage, number).await?;
    }
    let pairs = stage.reach().await?;
    let words = format!("every node has its pods: all {pairs} pairs reach each other");
    stage.timeline.note(true, words);
    Ok(())
}

/// Gives a node as many pods as it should have.
async fn fill(stage: &mut Stage<'_>, number: usize) -> Result<(), Error> {
    for _ in stage.pods(number)..stage.arguments.pods {
        stage.add(number).await?;
    }
    Ok(())
}

/// A node is drained and deleted; later the same machine comes back under a new Node of its name.
async fn drain(stage: &mut Stage<'_>, number: usize) -> Result<(), Error> {
    let peer = stage.peer(number).await?;
    while stage.remove(number).await? {}
    stage.delete(number).await?;
    stage.stop(number, Signal::SIGTERM).await?;
    let took = stage.reclaimed(&peer).await?;
    let words =
        format!("node-{number} was drained and deleted: what it had is others' after {took:.1} s");
    stage.timeline.note(true, words);
    stage.join(number).await?;
    stage.settled().await?;
    let has_forgotten = stage
        .machine(number)
        .log()
        .contains("removing persisted data");
    fill(stage, number).await?;
    let words = format!("node-{number} was created again: the machine forgot what it had");
    stage.timeline.note(has_forgotten, words);
    Ok(())
}

/// A node is lost with all that runs on it and deleted; another machine takes its name.
async fn lose(stage: &mut Stage<'_>, number: usize) -> Result<(), Error> {
    let peer = stage.peer(number).await?;
    stage.stop(number, Signal::SIGKILL).await?;
    stage.replace(number, None).await?;
    stage.delete(number).await?;
    let took = stage.reclaimed(&peer).await?;
    let words =
        format!("node-{number} was lost and deleted: what it had is others' after {took:.1} s");
    stage.timeline.note(true, words);
    stage.join(number).await?;
    stage.settled().await?;
    let now = stage.peer(number).await?;
    fill(stage, number).await?;
    let words = format!("another machine is node-{number}: its peer is {now}, it was {peer}");
    stage.timeline.note(now != peer, words);
    Ok(())
}

/// A machine that was copied from that of node 1 joins: its container says so and ends, before it
/// gives anybody an address.
async fn twin(stage: &mut Stage<'_>, number: usize) -> Result<(), Error> {
    let id = stage.machine(1).id()?;
    stage.replace(number, Some(id)).await?;
    let mut child = stage.register(number).await?;
    let what = "the container with another's machine id ends";
    let ended = |error: std::io::Error| error.to_string();
    stage
        .until(what, Duration::from_secs(30), async |_| {
            match child.try_wait().map_err(ended)? {
                Some(_) => Ok(()),
                None => Err("it runs".to_owned()),
            }
        })
        .await?;
    let log = stage.machine(number).log();
    let is_named = log.contains("is also that of node node-1");
    stage.delete(number).await?;
    let words = format!("node-{number} had the machine id of node-1: refused, and named");
    stage.timeline.note(is_named, words);
    Ok(())
}

/// The API server is away, while pods come and go; away for long, also a daemon does.
async fn outage(stage: &mut Stage<'_>) -> Result<(), Error> {
    let length = Duration::from_secs(stage.arguments.outage);
    stage.relay.close();
    let begun = Instant::now();
    let mut count = 0;
    let mut is_restarted = false;
    while begun.elapsed() < length {
        let now = begun.elapsed().as_secs();
        let words = format!("the API server is away for {now} of {} s", length.as_secs());
        stage.timeline.begin(&words);
        for number in 1..=stage.arguments.nodes {
            stage.add(number).await?;
            stage.remove(number).await?;
            count += 1;
        }
        // A machine that remembers its ring waits half a minute before it does without being told.
        if !is_restarted && length >= LONG && begun.elapsed() * 4 > length {
            restart(stage, 2).await?;
            is_restarted = true;
        }
        tokio::time::sleep(PAUSE).await;
    }
    let pairs = stage.reach().await?;
    let also = if is_restarted {
        ", and a daemon that was started again served from memory"
    } else {
        ""
    };
    let words = format!(
        "the API server was away for {:.0} s: {count} pods came and {count} went, {pairs} pairs \
         reach each other{also}",
        begun.elapsed().as_secs_f64()
    );
    stage.timeline.note(true, words);
    stage.relay.open().map_err(Error::file("API server"))?;
    let took = stage.settled().await?.as_secs_f64();
    let words = format!("the API server is back: no node has a problem after {took:.1} s");
    stage.timeline.note(true, words);
    Ok(())
}

/// A daemon is ended and started, and serves pods again.
async fn restart(stage: &mut Stage<'_>, number: usize) -> Result<(), Error> {
    stage.stop(number, Signal::SIGTERM).await?;
    stage.start(number).await?;
    let what = "the daemon answers";
    let answers = stage.until(what, Duration::from_secs(60), async |stage| {
        stage.reports().await.map(drop)
    });
    answers.await.map(drop)
}

/// A pod ends while the daemon of its node is away: its address is free once the daemon is back.
async fn absence(stage: &mut Stage<'_>, number: usize) -> Result<(), Error> {
    stage.stop(number, Signal::SIGKILL).await?;
    let is_removed = stage.remove(number).await?;
    stage.start(number).await?;
    stage.settled().await?;
    fill(stage, number).await?;
    let words = format!("a pod of node-{number} ended while its daemon was away");
    stage.timeline.note(is_removed, words);
    Ok(())
}

/// A node joins the cluster.
async fn grow(stage: &mut Stage<'_>, number: usize) -> Result<(), Error> {
    stage.replace(number, None).await?;
    let begun = Instant::now();
    stage.join(number).await?;
    stage.settled().await?;
    let took = begun.elapsed().as_secs_f64();
    fill(stage, number).await?;
    let words = format!("node-{number} joined: it serves pods after {took:.1} s");
    stage.timeline.note(true, words);
    Ok(())
}

/// The numbers from 1 to `count` in any order.
fn shuffled(count: usize) -> Result<Vec<usize>, Error> {
    let mut keyed = Vec::new();
    for number in 1..=count {
        let mut key = [0_u8; 8];
        getrandom::fill(&mut key).map_err(|error| Error::kernel("random numbers", error))?;
        keyed.push((key, number));
    }
    keyed.sort_unstable();
    Ok(keyed.into_iter().map(|(_, number)| number).collect())
}

/// Between rounds of pods.
const PAUSE: Duration = Duration::from_millis(500);
/// An outage in which also a daemon is restarted.
const LONG: Duration = Duration::from_secs(90);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_holds_every_node_once() {
        let mut order = shuffled(20).unwrap();

        order.sort_unstable();
        assert_eq!(order, (1..=20).collect::<Vec<_>>());
    }
}
