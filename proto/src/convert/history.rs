//! What an agent remembers of use, on the wire.

use tengyun_model::{
    At, InstanceId, InstanceSketch, Mebibytes, Millicores, Millis, PEAK_SLOTS, Peaks, Permille,
    SKETCH_WINDOWS_MAX, Sketch, SketchWindow, UsageHistory,
};

use super::field::{ascending, count, list};
use super::{ConvertError, SKETCHES_MAX};
use crate::v1;

/// The shortest and the longest window that a policy knows.
const WINDOW_BOUNDS: (Millis, Millis) = (Millis::from_secs(1), Millis::from_secs(3600));

impl TryFrom<v1::UsageHistory> for UsageHistory {
    type Error = ConvertError;

    fn try_from(wire: v1::UsageHistory) -> Result<Self, ConvertError> {
        let window = Millis::new(wire.window_millis);
        let (least, most) = WINDOW_BOUNDS;
        if window < least || window > most {
            let problem = format!("must be from {least} to {most}");
            return Err(ConvertError::new("window_millis", problem));
        }
        let instances: Vec<InstanceSketch> = list("instances", wire.instances, SKETCHES_MAX)?;
        let foreign = wire.foreign.map(sketch_from_wire).transpose();
        Ok(Self {
            at: At::from_millis(wire.at_millis),
            window,
            foreign: foreign.map_err(|e| e.within("foreign"))?,
            instances: ascending("instances", instances, |each| each.instance)?,
        })
    }
}

impl From<&UsageHistory> for v1::UsageHistory {
    fn from(history: &UsageHistory) -> Self {
        let of_instance = |each: &InstanceSketch| v1::UseSketch {
            peaks: peaks_to_wire(&each.peaks),
            ..sketch_to_wire(each.instance, &each.sketch)
        };
        Self {
            at_millis: history.at.millis(),
            window_millis: history.window.get(),
            foreign: history.foreign.as_ref().map(|f| sketch_to_wire(InstanceId::default(), f)),
            instances: history.instances.iter().map(of_instance).collect(),
        }
    }
}

impl TryFrom<v1::UseSketch> for InstanceSketch {
    type Error = ConvertError;

    fn try_from(wire: v1::UseSketch) -> Result<Self, ConvertError> {
        let instance = InstanceId::new(wire.instance);
        let peaks = wire.peaks.as_ref().map(Peaks::try_from).transpose();
        let peaks = peaks.map_err(|e| e.within("peaks"))?.unwrap_or_default();
        Ok(Self { instance, sketch: sketch_from_wire(wire)?, peaks })
    }
}

impl TryFrom<&v1::MemoryPeaks> for Peaks {
    type Error = ConvertError;

    fn try_from(wire: &v1::MemoryPeaks) -> Result<Self, ConvertError> {
        count("slots_mib", wire.slots_mib.len(), PEAK_SLOTS)?;
        let mut slots_mib = [0; PEAK_SLOTS];
        slots_mib[..wire.slots_mib.len()].copy_from_slice(&wire.slots_mib);
        Ok(Self {
            began: Some(At::from_millis(wire.began_millis)),
            open_from: At::from_millis(wire.open_from_millis),
            slots_mib,
            highest_mib: wire.highest_mib,
        })
    }
}

/// Slots of which nothing is known say nothing at the end of the list.
fn peaks_to_wire(peaks: &Peaks) -> Option<v1::MemoryPeaks> {
    let began_millis = peaks.began?.millis();
    let known = peaks.slots_mib.iter().rposition(|mib| *mib > 0).map_or(0, |last| last + 1);
    Some(v1::MemoryPeaks {
        began_millis,
        open_from_millis: peaks.open_from.millis(),
        slots_mib: peaks.slots_mib[..known].to_vec(),
        highest_mib: peaks.highest_mib,
    })
}

fn sketch_from_wire(wire: v1::UseSketch) -> Result<Sketch, ConvertError> {
    count("cpu_millicores", wire.cpu_millicores.len(), SKETCH_WINDOWS_MAX)?;
    if wire.covered_permille.len() != wire.cpu_millicores.len() {
        return Err(ConvertError::new("covered_permille", "is not of as many windows"));
    }
    if let Some(more) = wire.covered_permille.iter().find(|c| **c > Permille::WHOLE.get()) {
        return Err(ConvertError::new("covered_permille", format!("{more} is above the whole")));
    }
    let windows = wire.cpu_millicores.into_iter().zip(wire.covered_permille);
    let window = |(cpu, covered): (u32, u32)| SketchWindow {
        cpu: Millicores::new(u64::from(cpu)),
        covered: Permille::new(covered),
    };
    Ok(Sketch {
        from: At::from_millis(wire.from_millis),
        windows: windows.map(window).collect(),
        memory: Mebibytes::new(wire.memory_mib),
    })
}

/// A rate that does not fit is no rate of any server; it counts as the highest that does.
fn sketch_to_wire(instance: InstanceId, sketch: &Sketch) -> v1::UseSketch {
    let cpu = |w: &SketchWindow| u32::try_from(w.cpu.get()).unwrap_or(u32::MAX);
    v1::UseSketch {
        instance: instance.get(),
        from_millis: sketch.from.millis(),
        cpu_millicores: sketch.windows.iter().map(cpu).collect(),
        covered_permille: sketch.windows.iter().map(|w| w.covered.get()).collect(),
        memory_mib: sketch.memory.get(),
        peaks: None,
    }
}
