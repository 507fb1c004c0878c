package e2e

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
)

// Machine is how a kernel of one Debian architecture is booted, watched and damaged.
type Machine struct {
	Name string // Debian's
	elf  elf.Machine
	bits int
	Big  bool

	GoEnv []string // beside GOOS
	QEMU  string
	Args  []string
	CPU   string
	// Console is the kernel's name of the first serial port.
	Console string
	Image   string // pattern of the kernel's name in boot/
	// RAM is the physical address of the first byte of RAM: frames of the guest are offsets in the file behind it from there. RAM is one piece
	// as far as MB goes.
	RAM uint64
	MB  int

	// Args3 are gdb's numbers of the registers of the first three arguments.
	Args3 [3]int
	PC    int // and of the program counter
	// Entry is how far behind its symbol a function begins for callers in the kernel, in bytes.
	Entry uint64
	// TOC is the register that holds the kernel's TOC pointer, for which not every kernel has a symbol; 0: none.
	TOC int
	// Head: modules have GOT and PLT before .text that are in no section.
	Head bool
	// Memory are kernel objects that say what the kernel does to code: how many bytes, by name.
	Memory map[string]int

	// Abs32 are relocations whose field is too small for a far symbol, and are checked.
	Abs32 []uint32
	// Zero are relocations whose target has to be zero.
	Zero []uint32
	// Other is a machine that this one is not.
	Other elf.Machine
}

// machines are all that can be booted.
var machines = []Machine{
	{
		Name: "amd64", elf: elf.EM_X86_64, bits: 64,
		GoEnv: []string{"GOARCH=amd64"}, QEMU: "qemu-system-x86_64", Args: []string{"-M", "q35"}, CPU: "max", Console: "ttyS0", Image: "vmlinuz-*", MB: 1024,
		Args3:  [3]int{5, 4, 3}, // rdi, rsi, rdx
		PC:     16,
		Memory: map[string]int{"boot_cpu_data": 512, "x86_return_thunk": 8, "pv_ops": 1024, "preempt_dynamic_mode": 4, "__per_cpu_offset": 32},
		Abs32:  []uint32{uint32(elf.R_X86_64_32S), uint32(elf.R_X86_64_32)},
		Zero:   []uint32{uint32(elf.R_X86_64_64), uint32(elf.R_X86_64_32S), uint32(elf.R_X86_64_PC32), uint32(elf.R_X86_64_PLT32)},
		Other:  elf.EM_AARCH64,
	},
	{
		Name: "i386", elf: elf.EM_386, bits: 32,
		GoEnv: []string{"GOARCH=386"}, QEMU: "qemu-system-i386", Args: []string{"-M", "q35"}, CPU: "max", Console: "ttyS0", Image: "vmlinuz-*", MB: 1024,
		Args3:  [3]int{0, 2, 1}, // eax, edx, ecx: the kernel is built with -mregparm=3
		PC:     8,
		Memory: map[string]int{"boot_cpu_data": 512, "x86_return_thunk": 4, "pv_ops": 1024, "__per_cpu_offset": 16},
		Other:  elf.EM_X86_64,
	},
	{
		Name: "arm64", elf: elf.EM_AARCH64, bits: 64,
		GoEnv: []string{"GOARCH=arm64"}, QEMU: "qemu-system-aarch64", Args: []string{"-M", "virt,gic-version=3"}, CPU: "cortex-a76", Console: "ttyAMA0",
		Image: "vmlinuz-*", RAM: 0x40000000, MB: 1024,
		Args3:  [3]int{0, 1, 2},
		PC:     32,
		Memory: map[string]int{"boot_cpu_data": 512, "__per_cpu_offset": 32},
		Abs32:  []uint32{uint32(elf.R_AARCH64_ABS32), uint32(elf.R_AARCH64_PREL32)},
		Other:  elf.EM_X86_64,
	},
	{
		Name: "armhf", elf: elf.EM_ARM, bits: 32,
		GoEnv: []string{"GOARCH=arm", "GOARM=7"}, QEMU: "qemu-system-arm", Args: []string{"-M", "virt,highmem=off"}, CPU: "cortex-a15", Console: "ttyAMA0",
		Image: "vmlinuz-*", RAM: 0x40000000, MB: 1024,
		Args3: [3]int{0, 1, 2},
		PC:    15,
		Other: elf.EM_X86_64,
	},
	{
		Name: "riscv64", elf: elf.EM_RISCV, bits: 64,
		GoEnv: []string{"GOARCH=riscv64"}, QEMU: "qemu-system-riscv64", Args: []string{"-M", "virt"}, CPU: "rv64", Console: "ttyS0",
		Image: "vmlinu*", RAM: 0x80000000, MB: 1024,
		Args3: [3]int{10, 11, 12},
		PC:    32,
		Other: elf.EM_X86_64,
	},
	{
		Name: "s390x", elf: elf.EM_S390, bits: 64, Big: true,
		GoEnv: []string{"GOARCH=s390x"}, QEMU: "qemu-system-s390x", Args: []string{"-M", "s390-ccw-virtio"}, CPU: "max", Console: "ttysclp0",
		Image: "vmlinuz-*", MB: 1024,
		Args3: [3]int{4, 5, 6}, // r2, r3, r4; the PSW comes first
		PC:    1,
		Head:  true,
		Abs32: []uint32{uint32(elf.R_390_PC32DBL), uint32(elf.R_390_32)},
		Other: elf.EM_X86_64,
	},
	{
		Name: "ppc64el", elf: elf.EM_PPC64, bits: 64,
		GoEnv: []string{"GOARCH=ppc64le"}, QEMU: "qemu-system-ppc64", Args: []string{"-M", "pseries"}, CPU: "power9", Console: "hvc0",
		Image: "vmlinu*", MB: 1024,
		Args3: [3]int{3, 4, 5},
		PC:    64,
		TOC:   2,
		Entry: 8, // the local entry, behind the two instructions that set up r2
		Abs32: []uint32{uint32(elf.R_PPC64_REL32), uint32(elf.R_PPC64_REL24)},
		Other: elf.EM_X86_64,
	},
}

// machineOf finds the machine of a module file.
func machineOf(file []byte) (*Machine, error) {
	h, err := headerOf(file)
	if err != nil {
		return nil, err
	}
	for i := range machines {
		m := &machines[i]
		if m.elf == h.machine && m.bits == h.bits && m.Big == h.big {
			return m, nil
		}
	}
	return nil, fmt.Errorf("no machine for %v, %d bits, big-endian %t", h.machine, h.bits, h.big)
}

func (m *Machine) order() binary.ByteOrder { return orderOf(m.Big) }

func orderOf(big bool) binary.ByteOrder {
	if big {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// word reads an address in the machine's size and byte order.
func (m *Machine) word(b []byte) uint64 {
	if m.bits == 32 {
		return uint64(m.order().Uint32(b))
	}
	return m.order().Uint64(b)
}

// nameOff is where struct module has the module's name: behind its state and a list head.
func (m *Machine) nameOff() int {
	if m.bits == 32 {
		return 12
	}
	return 24
}
