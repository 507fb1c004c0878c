package e2e

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
)

// Machine is how a kernel of one Debian architecture is booted, watched and damaged.
type Machine struct {
	Name string // Debian's
	elf  elf.Machine
	bits int
	Big  bool
	Word string // in the vermagic, of kernels that differ by nothing else

	GoEnv []string // beside GOOS
	QEMU  string
	Args  []string
	CPU   string
	CPUs  int // 0: defaultCPUs
	// Console is the kernel's name of the first serial port.
	Console string
	Append  string // more of the kernel's command line
	Image   string // pattern of the kernel's name in boot/
	DTB     string // pattern of the device tree's path in the package, where QEMU makes none
	// RAM is the physical address of the first byte of RAM: frames of the guest are offsets in the file behind it from there. High is where
	// what is behind the first lowRAM bytes goes on; 0: where they end.
	RAM, High uint64
	MB        int

	// Args3 are gdb's numbers of the registers of the first three arguments.
	Args3 [3]int
	PC    int // and of the program counter
	// Entry is how far behind its symbol a function begins for callers in the kernel, in bytes.
	Entry uint64
	// TOC is the register that holds the kernel's TOC pointer, for which not every kernel has a symbol; 0: none.
	TOC int
	// TLB: the stub translates addresses by the TLB alone, which the kernel fills by software: what is not in it has to be touched first.
	TLB bool
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
	{ // the driver of the power domains reads registers that are not there
		Name: "armel", elf: elf.EM_ARM, bits: 32, Word: " ARMv6 ",
		GoEnv: []string{"GOARCH=arm", "GOARM=5"}, QEMU: "qemu-system-arm", Args: []string{"-M", "raspi1ap"}, CPU: "arm1176", CPUs: 1, Console: "ttyAMA0",
		Append: "initcall_blacklist=bcm2835_power_driver_init", Image: "vmlinuz-*", DTB: "usr/lib/linux-image-*/bcm2835-rpi-a-plus.dtb", MB: 512,
		Args3: [3]int{0, 1, 2},
		PC:    15,
		Other: elf.EM_X86_64,
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
	{
		Name: "mips64el", elf: elf.EM_MIPS, bits: 64,
		GoEnv: []string{"GOARCH=mips64le", "GOMIPS64=softfloat"}, QEMU: "qemu-system-mips64el", Args: []string{"-M", "malta"}, CPU: "MIPS64R2-generic", CPUs: 1,
		Console: "ttyS0", Image: "vmlinu*", MB: 256,
		Args3: [3]int{4, 5, 6},
		PC:    37,
		TLB:   true,
		Other: elf.EM_X86_64,
	},
	{
		Name: "mipsel", elf: elf.EM_MIPS, bits: 32,
		GoEnv: []string{"GOARCH=mipsle", "GOMIPS=softfloat"}, QEMU: "qemu-system-mipsel", Args: []string{"-M", "malta"}, CPU: "24Kf", CPUs: 1,
		Console: "ttyS0", Image: "vmlinu*", MB: 256,
		Args3: [3]int{4, 5, 6},
		PC:    37,
		TLB:   true,
		Other: elf.EM_X86_64,
	},
	{ // QEMU 10; the driver of a keyboard that is not there reads I/O ports that are not there
		Name: "loong64", elf: elf.EM_LOONGARCH, bits: 64,
		GoEnv: []string{"GOARCH=loong64"}, QEMU: "qemu-system-loongarch64", Args: []string{"-M", "virt"}, CPU: "la464",
		Console: "ttyS0", Append: "initcall_blacklist=i8042_init", Image: "vmlinuz-*", High: 0x80000000, MB: 1024,
		Args3: [3]int{4, 5, 6},
		PC:    33,
		Other: elf.EM_X86_64,
	},
}

// machineOf finds the machine of a module file.
func machineOf(file []byte) (*Machine, error) {
	h, err := headerOf(file)
	if err != nil {
		return nil, err
	}
	vermagic, _ := modinfo(file, "vermagic")
	for i := range machines {
		m := &machines[i]
		if m.elf == h.machine && m.bits == h.bits && m.Big == h.big && strings.Contains(vermagic, m.Word) {
			return m, nil
		}
	}
	return nil, fmt.Errorf("no machine for %v, %d bits, big-endian %t", h.machine, h.bits, h.big)
}

// lowRAM is how much RAM there is before a gap.
const lowRAM = 256 << 20

// ramOffset is where a physical address is in the file that is the machine's RAM. It is too large for the file when there is no RAM.
func (m *Machine) ramOffset(addr uint64) uint64 {
	switch {
	case m.High == 0 || addr-m.RAM < lowRAM:
		return addr - m.RAM
	case addr >= m.High:
		return addr - m.High + lowRAM
	}
	return math.MaxUint64
}

// byteOrder reads, writes and appends.
type byteOrder interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

func (m *Machine) order() byteOrder { return orderOf(m.Big) }

func orderOf(big bool) byteOrder {
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
