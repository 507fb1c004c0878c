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

KSYMTAB_FUNC(testexport, "", "");
KSYMTAB_FUNC(testexport_gpl, "_gpl", "");
KSYMTAB_FUNC(testexport_ns, "_gpl", "KOTOOL_TEST");

SYMBOL_CRC(testexport, 0x354f98b9, "");
SYMBOL_CRC(testexport_gpl, 0x8df22bad, "_gpl");
SYMBOL_CRC(testexport_ns, 0xdbe2bd90, "_gpl");

static const struct modversion_info ____versions[]
__used __section("__versions") = {
	{ 0xbdfb6dbb, "__fentry__" },
	{ 0x5b8239ca, "__x86_return_thunk" },
	{ 0x92997ed8, "_printk" },
	{ 0x2f9b2b9a, "module_layout" },
};

MODULE_INFO(depends, "");


MODULE_INFO(srcversion, "B5B9DDD9A2E9486C1348620");
