#include <linux/module.h>
#include <linux/export-internal.h>
#include <linux/compiler.h>

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



static const struct modversion_info ____versions[]
__used __section("__versions") = {
	{ 0x8c8569cb, "kstrtoint" },
	{ 0x7f339d96, "param_set_int" },
	{ 0xf0fdf6cb, "__stack_chk_fail" },
	{ 0xdf2e995e, "param_ops_int" },
	{ 0xe50e0fe2, "param_get_int" },
	{ 0xa3b43731, "param_array_ops" },
	{ 0xbb2f13f8, "param_ops_ushort" },
	{ 0xde474460, "param_ops_charp" },
	{ 0xbe12dd03, "param_ops_string" },
	{ 0x40012a71, "param_ops_bint" },
	{ 0x582c2792, "param_ops_invbool" },
	{ 0xe6b387c3, "param_ops_bool" },
	{ 0x381e9d3a, "param_ops_hexint" },
	{ 0xc8fc1ef0, "param_ops_ullong" },
	{ 0xe28aa97, "param_ops_ulong" },
	{ 0xbbb58a5e, "param_ops_long" },
	{ 0x92c161e3, "param_ops_uint" },
	{ 0x5922f4cc, "param_ops_short" },
	{ 0x52707858, "param_ops_byte" },
	{ 0xbdfb6dbb, "__fentry__" },
	{ 0x5b8239ca, "__x86_return_thunk" },
	{ 0x2f9b2b9a, "module_layout" },
};

MODULE_INFO(depends, "");

