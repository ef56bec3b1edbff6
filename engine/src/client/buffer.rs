//! The bytes of a request on their way out, and those of an answer on their way in.

use crate::wipe::wipe;

/// Above this a buffer is given back after the call.
const KEPT: usize = 16 * 1024;

/// The request as `ureq` writes it, kept until it is sent. It holds credentials and a token, so
/// every byte is wiped.
#[derive(Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    written: usize,
}

impl Output {
    /// Makes room for `more` bytes.
    pub(super) fn reserve(&mut self, more: usize) {
        if self.bytes.len() - self.written >= more {
            return;
        }
        // By hand, since a growing `Vec` leaves a copy behind.
        let mut grown = vec![0; self.written + more];
        grown[..self.written].copy_from_slice(self.written());
        wipe(&mut self.bytes);
        self.bytes = grown;
    }

    pub(super) fn free(&mut self) -> &mut [u8] {
        if self.bytes.len() == self.written {
            self.reserve(1024);
        }
        &mut self.bytes[self.written..]
    }

    pub(super) fn wrote(&mut self, amount: usize) {
        self.written += amount;
    }

    pub(super) fn written(&self) -> &[u8] {
        &self.bytes[..self.written]
    }

    pub(super) fn clear(&mut self) {
        // All of it: a header that did not fit may have left its beginning behind the end.
        wipe(&mut self.bytes);
        self.written = 0;
        if self.bytes.len() > KEPT {
            self.bytes = Vec::new();
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        wipe(&mut self.bytes);
    }
}

/// What came and `ureq` has not used yet.
#[derive(Default)]
pub(crate) struct Input {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Whether `ureq` could use something of what is there when it last looked.
    pub(super) progress: bool,
}

impl Input {
    pub(crate) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn unread_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    /// Room for at least `least` bytes behind what is unread.
    pub(crate) fn room(&mut self, least: usize) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.bytes.len() - self.end < least {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.bytes.len() - self.end < least {
                self.bytes.resize(self.end + 2 * least, 0);
            }
        }
        &mut self.bytes[self.end..]
    }

    pub(crate) fn filled(&mut self, amount: usize) {
        self.end += amount;
    }

    pub(crate) fn consume(&mut self, amount: usize) {
        self.progress = amount > 0;
        self.start += amount;
        debug_assert!(self.start <= self.end);
    }
}
