//! The floating-point environment of a thread: rounding, flushing of subnormal numbers,
//! traps. It is the caller's, and inherited by threads as they are made; results are
//! promised bit for bit, and Rust assumes the standard one. So every call sets that, the
//! threads of a handle inherit it, and the caller finds its own again, flags as they were.

/// The standard environment until this goes, then the one before.
pub(crate) struct StandardFloats {
    before: registers::Registers,
}

impl StandardFloats {
    #[inline]
    pub(crate) fn set() -> StandardFloats {
        let before = registers::Registers::read();
        registers::STANDARD.write();
        StandardFloats { before }
    }
}

impl Drop for StandardFloats {
    #[inline]
    fn drop(&mut self) {
        self.before.write();
    }
}

#[cfg(target_arch = "x86_64")]
mod registers {
    use std::arch::asm;

    /// MXCSR, which has control bits and flags.
    pub(super) struct Registers(u32);

    /// To nearest, gradual underflow, every exception masked, none raised.
    pub(super) const STANDARD: Registers = Registers(0x1F80);

    impl Registers {
        #[inline]
        pub(super) fn read() -> Registers {
            let mut value = 0_u32;
            // SAFETY: writes four bytes.
            unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut value, options(nostack, preserves_flags)) };
            Registers(value)
        }

        #[inline]
        pub(super) fn write(&self) {
            // SAFETY: a value that was read, or the standard one, has no reserved bit.
            unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const self.0, options(nostack, preserves_flags)) };
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod registers {
    use std::arch::asm;

    /// FPCR, the control bits, and FPSR, the flags.
    pub(super) struct Registers(u64, u64);

    /// To nearest, gradual underflow, no traps, no exception raised.
    pub(super) const STANDARD: Registers = Registers(0, 0);

    impl Registers {
        #[inline]
        pub(super) fn read() -> Registers {
            let (control, status);
            // SAFETY: reads two registers.
            unsafe {
                asm!("mrs {}, fpcr", "mrs {}, fpsr", out(reg) control, out(reg) status, options(nostack));
            }
            Registers(control, status)
        }

        #[inline]
        pub(super) fn write(&self) {
            // SAFETY: values that were read, or the standard ones.
            unsafe {
                asm!("msr fpcr, {}", "msr fpsr, {}", in(reg) self.0, in(reg) self.1, options(nostack));
            }
        }
    }
}

/// Elsewhere the caller's environment is used as it is.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod registers {
    pub(super) struct Registers;

    pub(super) const STANDARD: Registers = Registers;

    impl Registers {
        pub(super) fn read() -> Registers {
            Registers
        }

        pub(super) fn write(&self) {}
    }
}
