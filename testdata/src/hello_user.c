// SPDX-License-Identifier: Apache-2.0
/*
 * hello_user: imports from hello, has a device table, names firmware, and refers weakly to
 * something that nobody has.
 */
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/mod_devicetable.h>
#include <linux/module.h>
#include <linux/version.h>

extern int testexport(int a);
extern int testexport_ns(int a);
extern int kotool_nobody_has_this(int a) __attribute__((weak));

/* USB ids: two devices and a class. */
static const struct usb_device_id hello_user_ids[] = {
	{ .match_flags = USB_DEVICE_ID_MATCH_VENDOR | USB_DEVICE_ID_MATCH_PRODUCT, .idVendor = 0x1209, .idProduct = 0x0001 },
	{ .match_flags = USB_DEVICE_ID_MATCH_VENDOR | USB_DEVICE_ID_MATCH_PRODUCT, .idVendor = 0x1209, .idProduct = 0x0002 },
	{ .match_flags = USB_DEVICE_ID_MATCH_INT_CLASS, .bInterfaceClass = 3 },
	{ }
};
MODULE_DEVICE_TABLE(usb, hello_user_ids);

static int __init hello_user_init(void)
{
	if (kotool_nobody_has_this)
		return kotool_nobody_has_this(1);
	pr_info("%d %d\n", testexport(1), testexport_ns(2));
	return 0;
}

static void __exit hello_user_exit(void)
{
}

module_init(hello_user_init);
module_exit(hello_user_exit);

MODULE_AUTHOR("kotool authors");
MODULE_DESCRIPTION("A module that imports");
MODULE_LICENSE("GPL v2");
MODULE_FIRMWARE("kotool/one.bin");
MODULE_FIRMWARE("kotool/two.bin");
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
MODULE_IMPORT_NS("KOTOOL_TEST");
#else
MODULE_IMPORT_NS(KOTOOL_TEST);
#endif
