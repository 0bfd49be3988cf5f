//! The demo: the operator on the local cluster, two elements, and real files up, found and back down, compared byte by
//! byte; then a part of one, a change of its metadata, a deletion and a maintenance task. It may run again: the same files
//! keep the same ids.

mod calls;
mod examples;
mod samples;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use e2e::client::Client;
use e2e::layout::KUBECONFIG_VARIABLE;
use e2e::step::{print, say};
use e2e::{Layout, deploy};

use crate::calls::Calls;
use crate::samples::Sample;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match demo().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn demo() -> Result<()> {
    let started = Instant::now();
    let layout = Layout::of_this_machine()?;
    if layout.existing_cluster().is_some() {
        bail!("the demo runs on the local cluster; for the one of {KUBECONFIG_VARIABLE} follow examples/README.md");
    }
    let samples = samples::read(files_argument()?)?;
    examples::install(&layout)?;
    let names = examples::wait_until_ready(&layout)?;
    let key = deploy::signing_key(&layout)?;
    for name in &names {
        let address = deploy::service_address(&layout, examples::NAMESPACE, name)?;
        let element = Client::connect(name, &address, &key).await?;
        show(&element, &samples).await?;
        show_the_rest(&Calls::new(&element, &key)?, &samples).await?;
    }
    examples::wait_until_counted(&layout, samples.len().try_into()?)?;
    print(examples::table(&layout)?.trim_end());
    say(&format!(
        "demo finished after {:.0} s; go on with:",
        started.elapsed().as_secs_f64()
    ));
    for line in examples::next_commands(&layout, &names, &key)? {
        print(&format!("  {line}"));
    }
    Ok(())
}

/// The folder after `--files`, if there is one.
fn files_argument() -> Result<Option<PathBuf>> {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        None => Ok(None),
        Some(flag) if flag == "--files" => match arguments.next() {
            Some(folder) => Ok(Some(folder.into())),
            None => bail!("--files needs a folder"),
        },
        Some(other) => bail!("unknown argument {other:?}; there is only --files DIR"),
    }
}

/// Uploads, lists, searches and downloads; every difference is an error.
async fn show(element: &Client, samples: &[Sample]) -> Result<()> {
    let started = Instant::now();
    let mut new = 0;
    for sample in samples {
        if sample.upload(element).await? {
            new += 1;
        }
    }
    let bytes: usize = samples.iter().map(|sample| sample.content.len()).sum();
    say(&format!(
        "{}: {} files, {:.1} MB uploaded, {new} of them new, in {:.1} s",
        element.name,
        samples.len(),
        bytes as f64 / 1e6,
        started.elapsed().as_secs_f64()
    ));
    let listed = element.list().await?;
    for sample in samples {
        if !listed.contains(&sample.id) {
            bail!("{}: the list lacks {}", element.name, sample.name);
        }
    }
    say(&format!(
        "{}: all of them are among the {} files listed",
        element.name,
        listed.len()
    ));
    if let Some(sample) = samples.first() {
        let found = element.search(sample.word()).await?;
        if !found.contains(&sample.id) {
            bail!(
                "{}: a search for {:?} does not find {}",
                element.name,
                sample.word(),
                sample.name
            );
        }
        say(&format!(
            "{}: a search for {:?} finds {} files",
            element.name,
            sample.word(),
            found.len()
        ));
    }
    let started = Instant::now();
    for sample in samples {
        let content = element.read(sample.id).await?;
        if samples::checksum(&content) != sample.checksum {
            bail!("{}: {} came back different", element.name, sample.name);
        }
    }
    say(&format!(
        "{}: {} files downloaded, every SHA-256 equal, in {:.1} s",
        element.name,
        samples.len(),
        started.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// Reads a part of the largest file, changes its metadata, deletes a file of its own, and collects garbage.
async fn show_the_rest(calls: &Calls<'_>, samples: &[Sample]) -> Result<()> {
    if let Some(largest) = samples.iter().max_by_key(|sample| sample.content.len()) {
        calls.read_part(largest).await?;
        calls.change_metadata(largest).await?;
    }
    calls.delete().await?;
    calls.collect_garbage().await
}
