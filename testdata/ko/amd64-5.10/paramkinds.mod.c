#include <linux/module.h>
#define INCLUDE_VERMAGIC
#include <linux/build-salt.h>
#include <linux/vermagic.h>
#include <linux/compiler.h>

BUILD_SALT;

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
	{ 0x9a9392b7, "module_layout" },
	{ 0x314ef074, "param_ops_byte" },
	{ 0x6b99a6a7, "param_ops_short" },
	{ 0xf1ffe9cf, "param_ops_uint" },
	{ 0xd88b0272, "param_ops_long" },
	{ 0x3c93f8fc, "param_ops_ulong" },
	{ 0x12ae1d72, "param_ops_ullong" },
	{ 0xe24c9eb8, "param_ops_hexint" },
	{ 0x858d0fef, "param_ops_bool" },
	{ 0x5b40979d, "param_ops_invbool" },
	{ 0x233fa25d, "param_ops_bint" },
	{ 0x6440de81, "param_ops_string" },
	{ 0xecfc160b, "param_ops_charp" },
	{ 0x617d107a, "param_ops_ushort" },
	{ 0x910f655a, "param_array_ops" },
	{ 0xa9be722d, "param_get_int" },
	{ 0xe7ca6c43, "param_ops_int" },
	{ 0xc959d152, "__stack_chk_fail" },
	{ 0x5b8239ca, "__x86_return_thunk" },
	{ 0x23aaae40, "param_set_int" },
	{ 0x8c8569cb, "kstrtoint" },
	{ 0xbdfb6dbb, "__fentry__" },
};

MODULE_INFO(depends, "");

