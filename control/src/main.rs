//! `ringway`: reads the command line and does what it says.
//!
//! The only place that names `shards::Shards`. It wires source, controller, shards and admin pages
//! together and turns their ends into exit statuses; every decision is made in the library.
#![forbid(unsafe_code)]

mod data_plane;
mod serve;

use std::fs;
use std::process::ExitCode;

use clap::Parser;
use control::cli::{
    self, CheckArgs, Cli, Command, Exit, HistogramsArgs, StatusArgs, client, value::Admin,
};
use control::{demo, doctor, limits};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version come this way too, with status 0.
        Err(error) => cli::suggest::complete(error).exit(),
    };
    match act(cli.command) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("error: {failure}");
            failure.exit().into()
        }
    }
}

fn act(command: Command) -> Result<Exit, serve::Failure> {
    match command {
        Command::Run(args) if args.kube => serve::run_kube(&args.cluster, &args.serve),
        Command::Run(args) => serve::run(&args.paths, &args.serve, |_| ()),
        Command::Demo(args) => {
            let demo = demo::Demo::prepare().map_err(serve::Failure::start)?;
            serve::run(&[demo.directory().to_owned()], &args, |admin| {
                print!("{}", demo.lines(admin));
            })
        }
        Command::Check(args) => Ok(check(&args)),
        Command::Limits => {
            print!("{}", limits::text());
            Ok(Exit::Done)
        }
        Command::Doctor(args) => Ok(examine(&args)),
        Command::Status(args) => status(&args),
        Command::Histograms(args) => histograms(&args),
    }
}

fn check(args: &CheckArgs) -> Exit {
    let mistakes = control::check::paths(&args.paths, &args.class);
    print!("{}", control::check::render(&mistakes));
    if mistakes.is_empty() { Exit::Done } else { Exit::BadInput }
}

fn examine(args: &cli::DoctorArgs) -> Exit {
    let findings = doctor::examine(&doctor::Facts::read(args.admin));
    print!("{}", if args.json { doctor::json(&findings) } else { doctor::text(&findings) });
    if doctor::failed(&findings) { Exit::BadInput } else { Exit::Done }
}

fn ask(admin: Admin, page: &str) -> Result<String, serve::Failure> {
    client::get(admin, page).map_err(|error| serve::Failure::Input(error.to_string()))
}

fn status(args: &StatusArgs) -> Result<Exit, serve::Failure> {
    let text = ask(args.target.admin, "/status")?;
    if args.json {
        print!("{text}");
        return Ok(Exit::Done);
    }
    let document = serde_json::from_str(&text)
        .map_err(|error| serve::Failure::Input(format!("/status is no JSON: {error}")))?;
    print!("{}", control::admin::status::text(&document));
    Ok(Exit::Done)
}

fn histograms(args: &HistogramsArgs) -> Result<Exit, serve::Failure> {
    let page = if args.table { "/histograms?format=table" } else { "/histograms" };
    let text = ask(args.target.admin, page)?;
    match &args.output {
        None => print!("{text}"),
        Some(file) => fs::write(file, text).map_err(|error| {
            serve::Failure::Input(format!("cannot write {}: {error}", file.display()))
        })?,
    }
    Ok(Exit::Done)
}
