//! What this machine offers: cores, vector instructions, memory, an energy counter.

use serde::Serialize;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What this machine offers.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Operating system and processor architecture.
    pub platform: String,
    /// The processor's name, where the system tells it.
    pub processor: Option<String>,
    /// Cores this process may use.
    pub cores: usize,
    /// The best instruction set the kernels can use here.
    pub simd: &'static str,
    /// Main memory in bytes: all of it.
    pub memory_total: Option<u64>,
    /// Main memory in bytes: what can be had now.
    pub memory_available: Option<u64>,
    /// The processor's energy counter.
    pub energy_counter: EnergyCounter,
}

/// The energy counter of the processor (RAPL, Linux only).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum EnergyCounter {
    /// This file gives microjoules since some start.
    Readable {
        /// The counter's file.
        path: PathBuf,
    },
    /// There is a counter, but this user may not read it.
    NotPermitted {
        /// The counter's file.
        path: PathBuf,
    },
    /// The machine does not show one.
    Absent,
}

impl Machine {
    /// Looks at the machine.
    pub fn look() -> Self {
        let memory = fs::read_to_string("/proc/meminfo").ok();
        let memory = |field| memory.as_deref().and_then(|text| kibibytes(text, field));
        Machine {
            platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            processor: processor_name(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            simd: simd_level(),
            memory_total: memory("MemTotal:"),
            memory_available: memory("MemAvailable:"),
            energy_counter: EnergyCounter::find(),
        }
    }
}

impl EnergyCounter {
    /// Looks for a counter.
    pub fn find() -> Self {
        let path = PathBuf::from("/sys/class/powercap/intel-rapl:0/energy_uj");
        match fs::read_to_string(&path) {
            Ok(text) if text.trim().parse::<u64>().is_ok() => Self::Readable { path },
            Ok(_) => Self::Absent,
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                Self::NotPermitted { path }
            }
            Err(_) => Self::Absent,
        }
    }
}

/// Reads the energy counter before and after.
#[derive(Clone, Debug)]
pub struct EnergyMeter {
    path: PathBuf,
    start: u64,
}

impl EnergyMeter {
    /// Starts, if the counter can be read.
    pub fn start(counter: &EnergyCounter) -> Option<Self> {
        match counter {
            EnergyCounter::Readable { path } => {
                Some(EnergyMeter { path: path.clone(), start: read_number(path)? })
            }
            _ => None,
        }
    }

    /// Microjoules since the start.
    pub fn stop(self) -> Option<f64> {
        let end = read_number(&self.path)?;
        // The counter starts again from zero at a range that the system tells.
        let range = || read_number(&self.path.with_file_name("max_energy_range_uj"));
        let used = match end.checked_sub(self.start) {
            Some(used) => used,
            None => (range()?.checked_sub(self.start)?).checked_add(end)?,
        };
        Some(used as f64)
    }
}

fn read_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn kibibytes(meminfo: &str, field: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
}

fn processor_name() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(target_arch = "x86_64")]
fn simd_level() -> &'static str {
    if is_x86_feature_detected!("avx512f") {
        "AVX-512"
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        "AVX2 + FMA"
    } else {
        "SSE2"
    }
}

#[cfg(target_arch = "aarch64")]
fn simd_level() -> &'static str {
    "NEON"
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn simd_level() -> &'static str {
    "none"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read_in_bytes() {
        let text = "MemTotal:       2048 kB\nMemFree: 1 kB\n";
        assert_eq!(kibibytes(text, "MemTotal:"), Some(2048 * 1024));
        assert_eq!(kibibytes(text, "MemAvailable:"), None);
        assert_eq!(kibibytes("MemTotal: x kB", "MemTotal:"), None);
    }

    #[test]
    fn the_energy_counter_may_start_again_from_zero() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("energy_uj");
        let write = |name: &str, text: &str| {
            fs::write(folder.path().join(name), text).expect("written");
        };
        write("energy_uj", "900\n");
        write("max_energy_range_uj", "1000\n");
        let meter = EnergyMeter::start(&EnergyCounter::Readable { path }).expect("readable");
        write("energy_uj", "50\n");
        assert_eq!(meter.clone().stop(), Some(150.0));
        write("energy_uj", "960\n");
        assert_eq!(meter.stop(), Some(60.0));
        assert!(EnergyMeter::start(&EnergyCounter::Absent).is_none());
    }
}
