//! Writes the CustomResourceDefinitions as YAML into the folder given, `crds/yaml` by default.

use std::path::PathBuf;

use anyhow::Context;

fn main() -> anyhow::Result<()> {
    let folder = std::env::args_os()
        .nth(1)
        .map_or_else(|| PathBuf::from("crds/yaml"), PathBuf::from);
    std::fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    for definition in artstore_crds::definitions()? {
        let path = folder.join(artstore_crds::file_name(&definition));
        std::fs::write(&path, artstore_crds::render(&definition)?)
            .with_context(|| format!("failed to write {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}
