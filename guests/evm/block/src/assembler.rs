//! A small assembler for EVM bytecode.

use revm::{
    bytecode::{
        Bytecode,
        opcode::{JUMPDEST, PUSH1, PUSH2},
    },
    primitives::Bytes,
};

/// Collects instructions. Labels may be used before they are placed.
#[derive(Default)]
pub(crate) struct Assembler {
    code: Vec<u8>,
    /// Each label and the offset of its `JUMPDEST`.
    labels: Vec<(&'static str, u16)>,
    /// Where the offset of a label is to be written, as two bytes, big-endian.
    uses: Vec<(usize, &'static str)>,
}

impl Assembler {
    /// Appends instructions that have no immediate.
    pub(crate) fn ops(mut self, opcodes: &[u8]) -> Self {
        self.code.extend_from_slice(opcodes);
        self
    }

    /// Appends the `PUSH` instruction for 1 to 32 bytes.
    pub(crate) fn push(mut self, immediate: &[u8]) -> Self {
        assert!((1..=32).contains(&immediate.len()), "a PUSH instruction takes 1 to 32 bytes, not {}", immediate.len());
        self.code.push(PUSH1 + (immediate.len() - 1) as u8);
        self.code.extend_from_slice(immediate);
        self
    }

    /// Appends a `PUSH2` of the label's offset.
    pub(crate) fn push_label(mut self, label: &'static str) -> Self {
        self.code.push(PUSH2);
        self.uses.push((self.code.len(), label));
        self.code.extend_from_slice(&[0, 0]);
        self
    }

    /// Places the label here, with its `JUMPDEST`.
    pub(crate) fn label(mut self, label: &'static str) -> Self {
        let offset = u16::try_from(self.code.len()).expect("contracts are shorter than 64 KiB");
        self.labels.push((label, offset));
        self.code.push(JUMPDEST);
        self
    }

    /// Writes the labels' offsets and returns the code.
    ///
    /// # Panics
    ///
    /// Panics if a label is used and never placed.
    pub(crate) fn assemble(mut self) -> Bytecode {
        for (at, label) in self.uses {
            let (_, offset) = self
                .labels
                .iter()
                .find(|(placed, _)| *placed == label)
                .unwrap_or_else(|| panic!("label `{label}` is never placed"));
            self.code[at..at + 2].copy_from_slice(&offset.to_be_bytes());
        }
        Bytecode::new_legacy(Bytes::from(self.code))
    }
}
