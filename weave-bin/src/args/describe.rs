//! Shell completions and manual pages in `deploy/`, written from the same tables as the usage texts.
//!
//! The files are part of the repository, so that a package needs no build to have them. A test compares
//! them; with `WEAVE_WRITE=1` in its environment it writes them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command, CommandFactory as _, builder::PossibleValuesParser};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::daemon;
use crate::cli::usage::{COMMANDS, PROGRAMS, Usage, WORDS};
use crate::{lab, npc, render};

/// Everything that can be typed, as a tree.
fn tree() -> Command {
    let commands = COMMANDS.iter().map(of_operators);
    Command::new("weave")
        .about("The pod network that needs no store")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_flag(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .subcommands(commands)
        .subcommands(programs())
}

/// The programs, with their options.
fn programs() -> Vec<Command> {
    let program = |name, text: &'static str| {
        let usage = PROGRAMS.iter().find(|usage| usage.name == name).unwrap();
        with_options(Command::new(name).about(usage.about), text)
    };
    vec![
        program("weaver", daemon::help().leak()).arg(Arg::new("PEER").action(ArgAction::Append)),
        program("render", render::options::HELP),
        lab::args::Arguments::command().name("lab"),
        npc::args::Arguments::command().name("npc"),
        program("weave-npc", npc::controller::settings::help().leak()),
    ]
}

fn of_operators(usage: &Usage) -> Command {
    let mut command = Command::new(usage.name)
        .about(usage.about)
        .disable_help_flag(true);
    if !usage.words.is_empty() {
        let words = PossibleValuesParser::new(usage.words);
        command = command.arg(Arg::new("WORD").value_parser(words));
    }
    for (flag, about) in usage.options {
        command = command.arg(option(flag, None, about));
    }
    command
}

/// The options of a usage text: lines of two blanks, the option, its value, and what it does.
fn with_options(command: Command, text: &'static str) -> Command {
    let lines = text.lines().filter_map(|line| line.strip_prefix("  "));
    let options = lines.filter(|line| line.starts_with("--"));
    command.disable_help_flag(true).args(options.map(|line| {
        let (usage, about) = line.split_once("  ").unwrap();
        let (flag, value) = match usage.split_once(' ') {
            Some((flag, value)) => (flag, Some(value)),
            None => (usage, None),
        };
        option(flag, value, about.trim())
    }))
}

fn option(flag: &'static str, value: Option<&'static str>, about: &'static str) -> Arg {
    let name = flag.trim_start_matches('-');
    let arg = Arg::new(name).help(about);
    let arg = if flag.starts_with("--") {
        arg.long(name)
    } else {
        arg.short(name.chars().next().unwrap())
    };
    match value {
        Some(value) => arg.value_name(value).action(ArgAction::Set),
        None if flag == "-f" || flag == "-h" => arg.action(ArgAction::Set),
        None => arg.action(ArgAction::SetTrue),
    }
}

fn completion(shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut tree(), "weave", &mut text);
    text
}

/// The manual page of the operator's commands.
fn manual() -> Vec<u8> {
    let man = Man::new(tree());
    let mut text = Vec::new();
    man.render_title(&mut text).unwrap();
    man.render_name_section(&mut text).unwrap();
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([bold("weave"), roman(" [--local] COMMAND")]);
    for (title, list) in [("COMMANDS", COMMANDS), ("PROGRAMS", PROGRAMS)] {
        roff.control("SH", [title]);
        for usage in list {
            roff.control("TP", []);
            roff.text([bold(usage.name), roman(format!(" {}", usage.form))]);
            roff.text([roman(usage.about)]);
            for (flag, about) in usage.options {
                roff.control("br", []);
                roff.text([bold(*flag), roman(format!(": {about}"))]);
            }
        }
    }
    roff.control("SH", ["WORDS"]);
    for (word, meaning) in WORDS {
        roff.control("TP", []);
        roff.text([bold(*word)]);
        roff.text([roman(*meaning)]);
    }
    roff.control("SH", ["ENVIRONMENT"]);
    roff.control("TP", []);
    roff.text([bold("WEAVE_HTTP_ADDR")]);
    roff.text([roman("where the daemon is; 127.0.0.1:6784 if not set")]);
    roff.control("SH", ["EXIT STATUS"]);
    for (status, meaning) in [
        ("0", "done"),
        ("1", "refused"),
        ("4", "not there"),
        ("7", "no daemon answers; 1 for status"),
    ] {
        roff.control("TP", []);
        roff.text([bold(status)]);
        roff.text([roman(meaning)]);
    }
    roff.to_writer(&mut text).unwrap();
    text
}

/// The manual page of a program, with its own commands.
fn program_manual(mut program: Command) -> Vec<u8> {
    program.build();
    let mut text = Vec::new();
    let man = Man::new(program.clone());
    man.render_title(&mut text).unwrap();
    man.render_name_section(&mut text).unwrap();
    man.render_synopsis_section(&mut text).unwrap();
    man.render_options_section(&mut text).unwrap();
    for command in program.get_subcommands() {
        let mut roff = Roff::new();
        roff.control("SH", [command.get_bin_name().unwrap()]);
        roff.text([roman(command.get_about().unwrap().to_string())]);
        roff.to_writer(&mut text).unwrap();
        let mut options = Vec::new();
        let man = Man::new(command.clone());
        man.render_options_section(&mut options).unwrap();
        let options = String::from_utf8(options).unwrap();
        text.extend(options.replace(".SH OPTIONS\n", "").bytes());
    }
    text
}

/// Every file and what is in it.
fn files() -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = vec![
        (
            PathBuf::from("completion/weave.bash"),
            completion(Shell::Bash),
        ),
        ("completion/_weave".into(), completion(Shell::Zsh)),
        ("completion/weave.fish".into(), completion(Shell::Fish)),
        ("man/weave.1".into(), manual()),
    ];
    for program in programs() {
        let (_, name) = PAGES
            .iter()
            .find(|(word, _)| *word == program.get_name())
            .unwrap();
        files.push((
            format!("man/{name}.1").into(),
            program_manual(program.name(*name)),
        ));
    }
    files
}

/// The manual page of each program.
const PAGES: &[(&str, &str)] = &[
    ("weaver", "weaver"),
    ("render", "weave-render"),
    ("lab", "weave-lab"),
    ("npc", "weave-npc-tools"),
    ("weave-npc", "weave-npc"),
];

#[test]
fn completions_and_manual_pages_are_what_the_tables_say() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let write = std::env::var_os("WEAVE_WRITE").is_some();
    for (name, text) in files() {
        let path = deploy.join(name);
        if write {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let found = std::fs::read(&path).unwrap_or_default();
        let hint = "run the test with WEAVE_WRITE=1 and look at the difference";
        assert!(found == text, "{} is out of date: {hint}", path.display());
    }
}

#[test]
fn the_tree_is_one_that_can_be_typed() {
    tree().debug_assert();
    for usage in COMMANDS {
        assert!(
            tree().find_subcommand(usage.name).is_some(),
            "{}",
            usage.name
        );
    }
}
