#include <linux/module.h>
#define INCLUDE_VERMAGIC
#include <linux/build-salt.h>
#include <linux/elfnote-lto.h>
#include <linux/export-internal.h>
#include <linux/vermagic.h>
#include <linux/compiler.h>

BUILD_SALT;
BUILD_LTO_INFO;

MODULE_INFO(vermagic, VERMAGIC_STRING);
MODULE_INFO(name, KBUILD_MODNAME);

__visible struct module __this_module
__section(".gnu.linkonce.this_module") = {
	.name = KBUILD_MODNAME,
	.init = init_module,
#ifdef CONFIG_MODULE_UNLOAD
	.exit = cleanup_module,
#endif
	.arch = MODULE_ARCH_INIT,
};

#ifdef CONFIG_RETPOLINE
MODULE_INFO(retpoline, "Y");
#endif


static const struct modversion_info ____versions[]
__used __section("__versions") = {
	{ 0xbdfb6dbb, "__fentry__" },
	{ 0x5b8239ca, "__x86_return_thunk" },
	{ 0x8c8569cb, "kstrtoint" },
	{ 0xbaba85a3, "param_set_int" },
	{ 0xa19b956, "__stack_chk_fail" },
	{ 0x7d675181, "param_ops_int" },
	{ 0x66e17eb8, "param_get_int" },
	{ 0x30ab062a, "param_array_ops" },
	{ 0x31d9c525, "param_ops_ushort" },
	{ 0x4d58757b, "param_ops_charp" },
	{ 0x34e40bde, "param_ops_string" },
	{ 0x56cfacfc, "param_ops_bint" },
	{ 0xa0c47f2d, "param_ops_invbool" },
	{ 0xf07d014e, "param_ops_bool" },
	{ 0xb2e84be7, "param_ops_hexint" },
	{ 0x420ac82d, "param_ops_ullong" },
	{ 0x9d379b8c, "param_ops_ulong" },
	{ 0xad7b0cd3, "param_ops_long" },
	{ 0x840fe76e, "param_ops_uint" },
	{ 0xca3dc5d7, "param_ops_short" },
	{ 0x44befed5, "param_ops_byte" },
	{ 0xbce1a965, "module_layout" },
};

MODULE_INFO(depends, "");

