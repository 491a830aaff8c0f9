//! The chip: every constant of the mapper and the simulator, read from one TOML file.
//!
//! A constant has a value, a unit, a source, and a [`Mark`] that says how far it can be trusted.

use crate::error::ChipError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The description of SpiNNaker 2 that comes with the crate.
pub const SPINNAKER2: &str = include_str!("../chips/spinnaker2.toml");

/// How far a constant can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// Measured or specified by the designers.
    Published,
    /// Follows from published figures.
    Derived,
    /// Nobody published it.
    Assumed,
}

/// A constant as the file states it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Constant {
    /// Section and name, such as `core.sram`.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// The unit of the value.
    pub unit: String,
    /// How far it can be trusted.
    pub mark: Mark,
    /// Where it is from.
    pub source: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    value: f64,
    unit: String,
    mark: Mark,
    source: String,
}

/// Declares the constants: for each its field, its place in the file, its unit and the values that
/// make sense. Ranges keep sizes and times within what the simulator can count.
macro_rules! constants {
    ($($field:ident = $name:literal, $unit:literal, $low:literal ..= $high:literal;)*) => {
        /// A chip. Every field is the constant of that place in the file, in the unit stated there.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Chip {
            /// Its name.
            pub name: String,
            $(#[doc = concat!("`", $name, "` in ", $unit, ".")] pub $field: f64,)*
            /// All constants with their sources.
            pub constants: Vec<Constant>,
        }

        const RANGES: &[(&str, &str, f64, f64)] = &[$(($name, $unit, $low, $high)),*];

        impl Chip {
            fn of_constants(name: String, constants: Vec<Constant>) -> Self {
                let value = |name: &str| {
                    let found = constants.iter().find(|constant| constant.name == name);
                    found.map_or(f64::NAN, |constant| constant.value)
                };
                Chip { $($field: value($name),)* name, constants }
            }
        }
    };
}

constants! {
    quads = "core.quads", "count", 1.0..=1024.0;
    cores_per_quad = "core.cores_per_quad", "count", 1.0..=16.0;
    sram = "core.sram", "B", 1024.0..=1e9;
    program = "core.program", "B", 0.0..=1e9;
    stack = "core.stack", "B", 0.0..=1e9;
    fifo = "core.fifo", "B", 0.0..=1e9;
    steps_in_flight = "core.steps_in_flight", "count", 1.0..=64.0;
    low_clock = "low.clock", "MHz", 1.0..=1e4;
    low_cycle = "low.cycle", "pJ", 0.0..=1e6;
    low_mac = "low.mac", "pJ", 0.0..=1e6;
    high_clock = "high.clock", "MHz", 1.0..=1e4;
    high_cycle = "high.cycle", "pJ", 0.0..=1e6;
    high_mac = "high.mac", "pJ", 0.0..=1e6;
    switching_threshold = "switching.threshold", "cycles", 0.0..=1e9;
    switching_time = "switching.time", "us", 0.0..=1e6;
    value_bytes = "memory.value_bytes", "B", 1.0..=8.0;
    index_bytes = "memory.index_bytes", "B", 1.0..=8.0;
    pointer_bytes = "memory.pointer_bytes", "B", 1.0..=8.0;
    parameter_bytes = "memory.parameter_bytes", "B", 1.0..=8.0;
    sum_bytes = "memory.sum_bytes", "B", 1.0..=8.0;
    rows_buffered = "memory.rows_buffered", "count", 1.0..=64.0;
    one_event_in = "mapper.one_event_in", "count", 1.0..=1e6;
    sparse_entry = "cycles.sparse_entry", "cycles", 0.0..=1e4;
    dense_entry = "cycles.dense_entry", "cycles", 0.0..=1e4;
    sparse_add = "cycles.sparse_add", "cycles", 0.0..=1e4;
    dense_add = "cycles.dense_add", "cycles", 0.0..=1e4;
    sparse_fixed = "cycles.sparse_fixed", "cycles", 0.0..=1e4;
    dense_fixed = "cycles.dense_fixed", "cycles", 0.0..=1e4;
    int8_entry = "cycles.int8_entry", "cycles", 0.0..=1e4;
    row_cycles = "cycles.row", "cycles", 0.0..=1e4;
    scan_flags = "cycles.scan_flags", "count", 1.0..=1024.0;
    scan_cycles = "cycles.scan", "cycles", 0.0..=1e4;
    packet_in = "cycles.packet_in", "cycles", 0.0..=1e4;
    packet_out = "cycles.packet_out", "cycles", 0.0..=1e4;
    step_cycles = "cycles.step", "cycles", 0.0..=1e6;
    unit_cycles = "cycles.unit", "cycles", 0.0..=1e4;
    operation_cycles = "cycles.operation", "cycles", 0.0..=1e4;
    exponential_cycles = "cycles.exponential", "cycles", 0.0..=1e4;
    function_cycles = "cycles.function", "cycles", 0.0..=1e4;
    tap_cycles = "cycles.tap", "cycles", 0.0..=1e4;
    array_macs = "array.macs", "count", 1.0..=65536.0;
    array_use_linear = "array.use_linear", "ratio", 0.001..=1.0;
    array_use_convolution = "array.use_convolution", "ratio", 0.001..=1.0;
    array_start = "array.start", "cycles", 0.0..=1e6;
    array_units_16_bit = "array.units_of_16_bit", "count", 1.0..=64.0;
    array_input_bytes = "array.input_bytes", "B", 0.0..=64.0;
    array_output_bytes = "array.output_bytes", "B", 0.0..=64.0;
    operations_linear = "operations.linear", "count", 0.0..=1e4;
    operations_if = "operations.if", "count", 0.0..=1e4;
    operations_lif = "operations.lif", "count", 0.0..=1e4;
    operations_cuba_lif = "operations.cuba_lif", "count", 0.0..=1e4;
    operations_adaptive_lif = "operations.adaptive_lif", "count", 0.0..=1e4;
    operations_li = "operations.li", "count", 0.0..=1e4;
    operations_simple = "operations.simple", "count", 0.0..=1e4;
    operations_scale = "operations.scale", "count", 0.0..=1e4;
    operations_readout = "operations.readout", "count", 0.0..=1e4;
    operations_token_shift = "operations.token_shift", "count", 0.0..=1e4;
    operations_wkv = "operations.wkv", "count", 0.0..=1e4;
    operations_lstm = "operations.lstm", "count", 0.0..=1e4;
    operations_gru = "operations.gru", "count", 0.0..=1e4;
    operations_egru = "operations.egru", "count", 0.0..=1e4;
    operations_other = "operations.other", "count", 0.0..=1e4;
    functions_activation = "functions.activation", "count", 0.0..=1e4;
    functions_wkv = "functions.wkv", "count", 0.0..=1e4;
    functions_lstm = "functions.lstm", "count", 0.0..=1e4;
    functions_gru = "functions.gru", "count", 0.0..=1e4;
    functions_egru = "functions.egru", "count", 0.0..=1e4;
    state_if = "state.if", "B", 0.0..=1e4;
    state_lif = "state.lif", "B", 0.0..=1e4;
    state_cuba_lif = "state.cuba_lif", "B", 0.0..=1e4;
    state_adaptive_lif = "state.adaptive_lif", "B", 0.0..=1e4;
    state_li = "state.li", "B", 0.0..=1e4;
    state_readout = "state.readout", "B", 0.0..=1e4;
    state_wkv = "state.wkv", "B", 0.0..=1e4;
    state_lstm = "state.lstm", "B", 0.0..=1e4;
    state_gru = "state.gru", "B", 0.0..=1e4;
    state_egru = "state.egru", "B", 0.0..=1e4;
    state_other = "state.other", "B", 0.0..=1e4;
    columns = "noc.columns", "count", 1.0..=64.0;
    rows = "noc.rows", "count", 1.0..=64.0;
    noc_clock = "noc.clock", "MHz", 1.0..=1e4;
    hop_cycles = "noc.hop", "cycles", 0.0..=1e4;
    header_bits = "noc.header_bits", "bit", 40.0..=1024.0;
    payload_bits = "noc.payload_bits", "bit", 32.0..=1024.0;
    noc_bit = "noc.bit", "pJ", 0.0..=1e6;
    router_clock = "router.clock", "MHz", 1.0..=1e4;
    router_engines = "router.engines", "count", 1.0..=1024.0;
    router_entries = "router.entries", "count", 1.0..=1e6;
    router_latency = "router.latency", "cycles", 0.0..=1e6;
    router_lookup = "router.lookup", "pJ", 0.0..=1e6;
    link_rate = "link.rate", "Gbit/s", 0.001..=1e6;
    link_latency = "link.latency", "us", 0.0..=1e6;
    link_bit = "link.bit", "pJ", 0.0..=1e6;
    link_columns = "link.columns", "count", 1.0..=1024.0;
    link_chips = "link.chips", "count", 1.0..=1024.0;
    dram_bytes = "dram.bytes", "B", 0.0..=1e15;
    dram_rate = "dram.rate", "GB/s", 0.001..=1e6;
    dram_use = "dram.use", "ratio", 0.001..=1.0;
    dram_latency = "dram.latency", "us", 0.0..=1e6;
    dram_byte = "dram.byte", "pJ", 0.0..=1e6;
    sram_state_accesses = "sram.state_accesses", "count", 0.0..=64.0;
    sram_sum = "sram.sum", "B", 0.0..=64.0;
    sram_element = "sram.element", "B", 0.0..=64.0;
    sram_dense_weight = "sram.dense_weight", "B", 0.0..=64.0;
    sram_table_accesses = "sram.table_accesses", "count", 0.0..=64.0;
    sram_packet = "sram.packet", "B", 0.0..=1024.0;
    sram_byte = "sram.byte", "pJ", 0.0..=1e6;
    idle_chip = "idle.chip", "W", 0.0..=1e6;
    idle_core = "idle.core", "W", 0.0..=1e6;
    host_rate = "host.rate", "Gbit/s", 0.000001..=1e6;
    host_latency = "host.latency", "us", 0.0..=1e6;
}

impl Chip {
    /// SpiNNaker 2.
    ///
    /// # Errors
    /// None: the description is part of the crate and tested.
    pub fn spinnaker2() -> Result<Self, ChipError> {
        Self::from_toml(SPINNAKER2)
    }

    /// Reads a description.
    ///
    /// # Errors
    /// What is no TOML, constants that are missing, unknown, in another unit or out of range.
    pub fn from_toml(text: &str) -> Result<Self, ChipError> {
        let wrong = |place: &str, problem: String| {
            Err(ChipError::Description { place: place.to_owned(), problem })
        };
        let mut table: toml::Table = match text.parse() {
            Ok(table) => table,
            Err(error) => return wrong("the file", error.to_string()),
        };
        let name = match table.remove("name") {
            Some(toml::Value::String(name)) if !name.is_empty() => name,
            _ => return wrong("name", "the name of the chip is missing".to_owned()),
        };
        let mut entries = BTreeMap::new();
        for (section, content) in table {
            let toml::Value::Table(content) = content else {
                return wrong(&section, "is no section of constants".to_owned());
            };
            for (key, value) in content {
                entries.insert(format!("{section}.{key}"), value);
            }
        }
        let mut constants = Vec::new();
        for &(name, unit, low, high) in RANGES {
            let Some(value) = entries.remove(name) else {
                return wrong(name, format!("is missing; it is a number in {unit}"));
            };
            let entry: Entry = match value.try_into() {
                Ok(entry) => entry,
                Err(error) => return wrong(name, error.to_string()),
            };
            let constant = Constant {
                name: name.to_owned(),
                value: entry.value,
                unit: entry.unit,
                mark: entry.mark,
                source: entry.source,
            };
            check(&constant, unit, low, high)?;
            constants.push(constant);
        }
        if let Some(name) = entries.keys().next() {
            return wrong(name, "is no constant of a chip".to_owned());
        }
        Self::of_constants(name, constants).consistent()
    }

    /// The same chip with another value for a constant, for sensitivity tables.
    ///
    /// # Errors
    /// A constant that does not exist, or a value out of range.
    pub fn with(&self, name: &str, value: f64) -> Result<Self, ChipError> {
        let mut constants = self.constants.clone();
        let range = RANGES.iter().find(|range| range.0 == name);
        let found = constants.iter_mut().find(|constant| constant.name == name);
        let (Some(&(_, unit, low, high)), Some(constant)) = (range, found) else {
            let problem = "is no constant of a chip".to_owned();
            return Err(ChipError::Description { place: name.to_owned(), problem });
        };
        constant.value = value;
        check(constant, unit, low, high)?;
        Self::of_constants(self.name.clone(), constants).consistent()
    }

    fn consistent(self) -> Result<Self, ChipError> {
        let wrong = |place: &str, problem: String| {
            Err(ChipError::Description { place: place.to_owned(), problem })
        };
        if self.columns * self.rows < self.quads + 2.0 {
            let sites = self.columns * self.rows;
            let problem =
                format!("{sites} sites do not hold {} quads, router and periphery", self.quads);
            return wrong("noc.columns", problem);
        }
        if self.program + self.stack + self.fifo >= self.sram {
            return wrong("core.program", "program, stack and buffer fill the SRAM".to_owned());
        }
        Ok(self)
    }

    /// Cores of a chip.
    pub fn cores(&self) -> usize {
        (self.quads * self.cores_per_quad) as usize
    }

    /// Bytes of data a core holds.
    pub fn data_bytes(&self) -> usize {
        (self.sram - self.program - self.stack - self.fifo) as usize
    }
}

fn check(constant: &Constant, unit: &str, low: f64, high: f64) -> Result<(), ChipError> {
    let value = constant.value;
    let whole = matches!(unit, "count" | "B" | "bit");
    let problem = if constant.unit != unit {
        format!("is in `{}` instead of `{unit}`", constant.unit)
    } else if !(low..=high).contains(&value) {
        format!("{value} {unit} is not within {low}..={high}")
    } else if whole && value.fract() != 0.0 {
        format!("{value} {unit} is no whole number")
    } else {
        return Ok(());
    };
    Err(ChipError::Description { place: constant.name.clone(), problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_of_spinnaker_2_is_complete() {
        let chip = Chip::spinnaker2().unwrap();
        assert_eq!(chip.cores(), 152);
        assert!(chip.constants.iter().all(|constant| constant.source.len() > 5));
        let marks = |mark| chip.constants.iter().filter(|c| c.mark == mark).count();
        assert!(marks(Mark::Published) > 0 && marks(Mark::Derived) > 0 && marks(Mark::Assumed) > 0);
    }

    #[test]
    fn faults_are_named() {
        let fault = |from: &str, to: &str| {
            assert!(SPINNAKER2.contains(from), "{from}");
            Chip::from_toml(&SPINNAKER2.replacen(from, to, 1)).unwrap_err().to_string()
        };
        assert!(fault("value = 38,", "value = -1,").contains("core.quads"));
        assert!(fault("value = 38,", "value = 39,").contains("noc.columns"));
        assert!(fault("value = 38,", "value = 3.5,").contains("whole"));
        assert!(fault("value = 38,", "value = nan,").contains("core.quads"));
        assert!(fault("[core]", "[score]").contains("core.quads"));
        assert!(fault("unit = \"MHz\"", "unit = \"GHz\"").contains("low.clock"));
        assert!(fault("[idle]", "[idle]\nlamp = 1").contains("idle.lamp"));
        assert!(fault("value = 32768", "value = 131072").contains("fill"));
        let chip = Chip::spinnaker2().unwrap();
        assert!(chip.with("core.sram", 0.0).is_err() && chip.with("core.colour", 1.0).is_err());
        assert_eq!(chip.with("noc.bit", 0.5).unwrap().noc_bit, 0.5);
    }
}
