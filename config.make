# What NGINX's Makefile does about the module: `make` and `make modules` leave
# $NGX_OBJS/ngx_http_phantom_token_module.so, `make install` copies it to where NGINX looks for modules.

# ./configure takes a builddir and a module's directory relative to where it runs.
phantom_token_objs=`cd $NGX_OBJS && pwd`
phantom_token_dir=`cd $ngx_addon_dir && pwd`
phantom_token_so=ngx_http_phantom_token_module.so

# Below the prefix, unless it is a path of its own (auto/install, which runs later, says the same).
case $NGX_MODULES_PATH in
    /*) phantom_token_modules=$NGX_MODULES_PATH ;;
    *)  phantom_token_modules=$NGX_PREFIX/${NGX_MODULES_PATH:-modules} ;;
esac
phantom_token_installed=$phantom_token_modules/$phantom_token_so

# cargo knows what is out of date: it is asked every time. It takes make's flags for its own.
cat << END                                                    >> $NGX_MAKEFILE

modules:	$NGX_OBJS/$phantom_token_so

.PHONY:	phantom_token

phantom_token:
	env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL \\
		NGINX_SOURCE_DIR='$PWD' NGINX_BUILD_DIR='$phantom_token_objs' \\
		cargo build --release --locked --package ngx-phantom-token \\
		--manifest-path '$phantom_token_dir/Cargo.toml' \\
		--target-dir '$phantom_token_objs/phantom_token'

$NGX_OBJS/$phantom_token_so:	phantom_token
	cp '$phantom_token_objs/phantom_token/release/lib$phantom_token_so' \$@.new
	mv \$@.new \$@

install:	install_phantom_token

.PHONY:	install_phantom_token

install_phantom_token:	build
	mkdir -p '\$(DESTDIR)$phantom_token_modules'
	cp $NGX_OBJS/$phantom_token_so '\$(DESTDIR)$phantom_token_installed.new'
	mv '\$(DESTDIR)$phantom_token_installed.new' '\$(DESTDIR)$phantom_token_installed'
END
