package diag

import "debug/elf"

// numbers are error numbers of machines that have not the generic table.
//
// Source: arch/*/include/uapi/asm/errno.h. mips: measured (e2e).
var numbers = map[elf.Machine]map[Errno]int{
	elf.EM_MIPS:        {ENOSYS: 89, EBADMSG: 77, EOPNOTSUPP: 122, ETIMEDOUT: 145, ENOKEY: 161, EKEYREJECTED: 164},
	elf.EM_SPARC:       sparcNumbers,
	elf.EM_SPARC32PLUS: sparcNumbers,
	elf.EM_SPARCV9:     sparcNumbers,
	elf.EM_PARISC:      {ENOSYS: 251, ENODATA: 51, ENOPKG: 55, EBADMSG: 67, EOPNOTSUPP: 223, ETIMEDOUT: 238, ENOKEY: 184, EKEYREJECTED: 187},
	elf.EM_ALPHA:       alphaNumbers,
	elf.EM_ALPHA_STD:   alphaNumbers,
}

var (
	sparcNumbers = map[Errno]int{ENOSYS: 90, ENODATA: 111, ENOPKG: 113, EBADMSG: 76, EOPNOTSUPP: 45, ETIMEDOUT: 60, ENOKEY: 128, EKEYREJECTED: 131}
	alphaNumbers = map[Errno]int{EAGAIN: 35, ENOSYS: 78, ENODATA: 86, ENOPKG: 92, EBADMSG: 84, EOPNOTSUPP: 45, ETIMEDOUT: 60, ENOKEY: 132, EKEYREJECTED: 135}
)

// Number is what a kernel of the machine returns for it: EOPNOTSUPP is 95, but 122 on mips.
func (e Errno) Number(m elf.Machine) int {
	if n, ok := numbers[m][e]; ok {
		return n
	}
	return int(e)
}
