package diag

import (
	"debug/elf"
	"testing"
)

func TestErrnoNumbersAreTheMachines(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		e    Errno
		m    elf.Machine
		want int
	}{
		{EOPNOTSUPP, elf.EM_X86_64, 95},
		{EOPNOTSUPP, elf.EM_MIPS, 122},
		{EKEYREJECTED, elf.EM_MIPS, 164},
		{EKEYREJECTED, elf.EM_LOONGARCH, 129},
		{ENOEXEC, elf.EM_MIPS, 8},
		{EBADMSG, elf.EM_SPARCV9, 76},
		{ENOPKG, elf.EM_PARISC, 55},
		{EAGAIN, elf.EM_ALPHA, 35},
		{0, elf.EM_MIPS, 0},
	} {
		if got := c.e.Number(c.m); got != c.want {
			t.Errorf("%v on %v: got %d, want %d", c.e, c.m, got, c.want)
		}
	}
}
