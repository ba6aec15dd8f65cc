//! The words about what hosts run and what their network does to packets.

use clap::Args;

use crate::lab::plan::{CABLED, Conditions, OverlayChoice};

/// What differs from a sound network.
#[derive(Debug, Clone, Args)]
pub(crate) struct Terrain {
    /// Which overlays carry frames.
    #[arg(long, value_enum, default_value_t = OverlayChoice::Fastdp)]
    overlay: OverlayChoice,
    /// Networks whose frames need no encryption; without a value those the hosts are cabled to.
    #[arg(long, value_name = "CIDR,...", num_args = 0..=1, default_missing_value = CABLED,
          require_equals = true, requires = "password")]
    trusted_subnets: Option<String>,
    /// A host behind a router that translates its address, so that it can only dial out.
    #[arg(long, value_name = "HOST")]
    nat: Option<usize>,
    /// MTU of the cables [default: 1500].
    #[arg(long, value_name = "BYTES")]
    underlay_mtu: Option<u16>,
    /// Do not tell hosts of that MTU: larger packets vanish without an answer.
    #[arg(long)]
    black_hole: bool,
    /// Percent of the packets that each cable loses.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    loss: Option<f64>,
}

impl Terrain {
    /// As the plan has it.
    pub(super) fn conditions(&self) -> Conditions {
        Conditions {
            overlay: self.overlay,
            underlay_mtu: self.underlay_mtu,
            black_hole: self.black_hole,
            loss_ppm: self.loss.map_or(0, parts_per_million),
            nat: self.nat,
            trusted: self.trusted_subnets.clone(),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a percentage was checked to be from 0 to 100"
)]
fn parts_per_million(percent: f64) -> u32 {
    (percent * 10_000.0).round() as u32
}

fn percent(text: &str) -> Result<f64, String> {
    let wrong = || format!("{text:?} is no percentage from 0 to 100");
    let number: f64 = text.parse().map_err(|_| wrong())?;
    if (0.0..=100.0).contains(&number) {
        Ok(number)
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::lab::args::{Arguments, Command};

    fn conditions(line: &str) -> Result<Conditions, clap::Error> {
        let words = std::iter::once("weave lab").chain(line.split_whitespace());
        let Command::Up(up) = Arguments::try_parse_from(words)?.command else {
            panic!("another command");
        };
        Ok(up.shape.choice().conditions)
    }

    #[test]
    fn a_plain_lab_has_a_sound_network() {
        assert_eq!(conditions("up").unwrap(), Conditions::default());
    }

    #[test]
    fn every_condition_has_its_word() {
        let line = "up --overlay mixed --password x --trusted-subnets --nat 2 --underlay-mtu 1300 \
                    --black-hole --loss 0.5";

        assert_eq!(
            conditions(line).unwrap(),
            Conditions {
                overlay: OverlayChoice::Mixed,
                underlay_mtu: Some(1300),
                black_hole: true,
                loss_ppm: 5000,
                nat: Some(2),
                trusted: Some(CABLED.to_owned()),
            }
        );
        let given = conditions("up --password x --trusted-subnets=10.0.0.0/8").unwrap();
        assert_eq!(given.trusted.as_deref(), Some("10.0.0.0/8"));
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "up --loss 101",
            "up --loss x",
            "up --trusted-subnets",
            "up --overlay fast",
        ] {
            assert!(conditions(line).is_err(), "{line}");
        }
    }
}
