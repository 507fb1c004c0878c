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

KSYMTAB_FUNC(testexport, "");
SYMBOL_FLAGS(testexport, 0x00);
KSYMTAB_FUNC(testexport_gpl, "");
SYMBOL_FLAGS(testexport_gpl, 0x01);
KSYMTAB_FUNC(testexport_ns, "KOTOOL_TEST");
SYMBOL_FLAGS(testexport_ns, 0x01);

MODULE_INFO(depends, "");


MODULE_INFO(srcversion, "B5B9DDD9A2E9486C1348620");
