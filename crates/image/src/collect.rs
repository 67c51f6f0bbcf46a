//! Removes layers and blobs that no image record, no holder and no pull under way needs.

use crate::store::{Hold, ImageRecord, LayerRecord, entries, remove_file, remove_tree};
use crate::{ContentStore, Digest, Error};
use std::collections::HashSet;
use std::fs;

/// What a collection removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    pub layers: usize,
    pub blobs: usize,
    /// Uncompressed bytes of the removed layers.
    pub bytes: u64,
}

impl ContentStore {
    /// Removes what nothing needs any more.
    pub fn collect(&self) -> Result<Collected, Error> {
        let mut collected = Collected::default();
        let mut doomed = Vec::new();
        {
            // The lock keeps a pull from pinning a layer between the look and the rename.
            let state = self.inner.state();
            let mut live: HashSet<Digest> = state.pins.keys().copied().collect();
            let held = self.read_all::<Hold>("holds")?.into_iter().map(|hold| hold.image);
            for image in self.read_all::<ImageRecord>("images")?.into_iter().chain(held) {
                live.extend(image.diff_ids);
                live.extend([image.config_digest, image.manifest_digest]);
            }
            for dir in entries(self.layers_dir())? {
                let Some(record) = self.read_json::<LayerRecord>(&dir.join("layer.json"))? else { continue };
                if live.contains(&record.diff_id) {
                    continue;
                }
                let grave = self.temporary();
                fs::rename(&dir, &grave).map_err(Error::io("remove", &dir))?;
                collected.layers += 1;
                collected.bytes += record.size;
                doomed.push(grave);
            }
            for path in entries(&self.sub("blobs"))? {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                if Digest::from_hex(name).is_ok_and(|digest| !live.contains(&digest)) && remove_file(&path)? {
                    collected.blobs += 1;
                }
            }
        }
        for grave in doomed {
            remove_tree(&grave)?;
        }
        Ok(collected)
    }
}
