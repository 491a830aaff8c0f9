//! What something costs a core.

/// What something costs a core.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Cycles of the core.
    pub cycles: f64,
    /// Products on the array.
    pub macs: f64,
    /// Bytes of data read and written in its SRAM.
    pub sram: f64,
    /// Bytes that come from the DRAM.
    pub dram: f64,
    /// Products and additions of weights.
    pub synapses: f64,
    /// Cycles the array computes while the core waits.
    pub array: f64,
}

impl Work {
    /// Adds other work.
    pub fn add(&mut self, other: Work) {
        self.cycles += other.cycles;
        self.macs += other.macs;
        self.sram += other.sram;
        self.dram += other.dram;
        self.synapses += other.synapses;
        self.array += other.array;
    }
}
