//! Runs the readings of `samples.rs` on QEMU's mps2 (Cortex-M) and virt (RISC-V) boards; prints
//! step, decision, the bits of the scores, and the checksum of the whole state.
#![no_std]
#![no_main]

use core::panic::PanicInfo;

include!("samples.rs");

#[cfg(target_arch = "arm")]
mod board {
    core::arch::global_asm!(
        ".section .vectors,\"a\"",
        ".word stack_top, reset, hang, hang, hang, hang, hang, hang",
        ".text",
        ".thumb_func",
        ".global reset",
        "reset:",
        // The FPU, where there is one; writing to it does nothing elsewhere.
        "ldr r0, =0xE000ED88",
        "ldr r1, [r0]",
        "orr r1, r1, #0xF00000",
        "str r1, [r0]",
        "dsb",
        "isb",
        "bl rust_main",
        ".thumb_func",
        ".global hang",
        "hang: b hang",
    );

    fn semihost(operation: u32, argument: u32) {
        // SAFETY: semihosting is trapped by the emulator, which this program only runs on; the call reads its argument and returns.
        unsafe {
            core::arch::asm!("bkpt #0xab", inout("r0") operation => _, in("r1") argument);
        }
    }

    pub fn write(byte: u8) {
        semihost(3, &raw const byte as u32);
    }

    pub fn exit(code: u32) -> ! {
        let block = [0x20026_u32, code];
        semihost(0x20, block.as_ptr() as u32);
        loop {}
    }
}

#[cfg(any(target_arch = "riscv32", target_arch = "riscv64"))]
mod board {
    core::arch::global_asm!(
        ".section .text.start",
        ".global _start",
        "_start:",
        // The FPU, where there is one.
        "li t0, 0x6000",
        "csrs mstatus, t0",
        "la sp, stack_top",
        "call rust_main",
    );

    pub fn write(byte: u8) {
        // SAFETY: the transmit register of the emulated board's serial port; a byte written there touches no memory.
        unsafe { (0x1000_0000 as *mut u8).write_volatile(byte) }
    }

    pub fn exit(code: u32) -> ! {
        // The test device: pass, or fail with a code.
        let word = if code == 0 { 0x5555 } else { code << 16 | 0x3333 };
        // SAFETY: the register that ends the emulation; nothing in memory lies there.
        unsafe { (0x10_0000 as *mut u32).write_volatile(word) }
        loop {}
    }
}

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    board::exit(99)
}

fn hex(word: u32) {
    for shift in (0..8).rev() {
        board::write(b"0123456789abcdef"[(word >> (4 * shift) & 15) as usize]);
    }
    board::write(b' ');
}

#[no_mangle]
pub extern "C" fn rust_main() -> ! {
    let mut state = network::State::new();
    let mut seen = 0;
    for step in 0..STEPS {
        let at = step % SAMPLES_STEPS * network::INPUTS;
        let readings = SAMPLES[at..].first_chunk().unwrap();
        let output = network::step(&mut state, readings);
        seen += output.decision;
        if cfg!(not(feature = "quiet")) {
            hex(step as u32 + 1);
            hex(output.decision as u32);
            output.scores.iter().for_each(|score| hex(bits(*score)));
            // The last word of a saved state is the checksum of the others.
            hex(u32::from_le_bytes(*state.to_bytes().last_chunk().unwrap()));
            board::write(b'\n');
        }
        if network::WINDOW.is_some_and(|window| (step as u32 + 1) % window == 0) {
            state = network::State::new();
        }
    }
    board::exit(u32::from(seen == usize::MAX))
}
