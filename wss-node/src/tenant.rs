//! Customers with rules of their own, and which of them a request is for: by its host, then by its path.

use std::sync::Arc;

use crate::auth::{AuthError, Verifier};
use crate::config::{Config, GateConfig, HostPattern, TenantConfig, TokenConfig};

/// Under whose rules a session is.
#[derive(Debug)]
pub(crate) struct Tenant {
    /// `None`: that of everybody.
    pub(crate) name: Option<String>,
    /// Put before the names of its channels.
    pub(crate) channel_prefix: String,
    /// Beginnings of names that are others' channels: those of a tenant without a prefix do not reach them.
    pub(crate) reserved: Arc<[String]>,
    /// Its sessions at the same time; 0: no limit of its own.
    pub(crate) sessions: u32,
    pub(crate) gate: GateConfig,
    pub(crate) token: TokenConfig,
    /// Checks its tokens; shared by all whose section is the same.
    pub(crate) verifier: Arc<Verifier>,
}

impl Tenant {
    /// That of everybody whom no other tenant claims.
    ///
    /// # Errors
    /// [`AuthError`]: its tokens cannot be checked as configured.
    pub(crate) fn everybody(config: &Config) -> Result<Self, AuthError> {
        let (gate, token) = (config.gate.clone(), config.token.clone());
        let verifier = Arc::new(Verifier::new(&token, "token")?);
        let prefixes = config.tenant.iter().map(|tenant| tenant.channel_prefix.clone());
        let reserved = prefixes.filter(|prefix| !prefix.is_empty()).collect();
        let channel_prefix = String::new();
        Ok(Self { name: None, channel_prefix, reserved, sessions: 0, gate, token, verifier })
    }

    /// The one at `position` of the configuration; what it leaves out is as for `everybody`.
    fn new(tenant: &TenantConfig, position: usize, everybody: &Self) -> Result<Self, AuthError> {
        let verifier = match &tenant.token {
            Some(token) => Arc::new(Verifier::new(token, &format!("tenant.{position}.token"))?),
            None => Arc::clone(&everybody.verifier),
        };
        Ok(Self {
            name: Some(tenant.name.clone()),
            channel_prefix: tenant.channel_prefix.clone(),
            reserved: Arc::clone(&everybody.reserved),
            sessions: tenant.sessions,
            gate: tenant.gate.clone().unwrap_or_else(|| everybody.gate.clone()),
            token: tenant.token.clone().unwrap_or_else(|| everybody.token.clone()),
            verifier,
        })
    }
}

impl Tenant {
    /// The name of its channel among those of all tenants; `None`: it is another's. No prefix begins with another, so that
    /// whoever has one has all names under it alone.
    pub(crate) fn channel(&self, name: &str) -> Option<String> {
        let is_free = || !self.reserved.iter().any(|prefix| name.starts_with(prefix.as_str()));
        let own = !self.channel_prefix.is_empty() || is_free();
        own.then(|| format!("{}{name}", self.channel_prefix))
    }

    /// What its clients call a channel that has this name among those of all tenants; `None`: it is another's.
    pub(crate) fn called<'a>(&self, full: &'a str) -> Option<&'a str> {
        let called = full.strip_prefix(self.channel_prefix.as_str())?;
        (self.channel(called).as_deref() == Some(full)).then_some(called)
    }
}

/// All of them, by where their endpoints are.
#[derive(Debug)]
pub(crate) struct Tenants {
    /// By host, those that match before others first.
    sites: Vec<(HostPattern, Site)>,
    /// Under every other host.
    elsewhere: Site,
}

/// The endpoints under one host.
#[derive(Debug, Default)]
pub(crate) struct Site(Vec<(String, Arc<Tenant>)>);

impl Site {
    /// Whose endpoint is at a path.
    pub(crate) fn at(&self, path: &str) -> Option<&Arc<Tenant>> {
        self.0.iter().find(|(own, _)| own == path).map(|(_, tenant)| tenant)
    }

    /// The path of the only endpoint.
    pub(crate) fn only_path(&self) -> Option<&str> {
        if let [(path, _)] = self.0.as_slice() { Some(path) } else { None }
    }
}

impl Tenants {
    /// Those of a configuration that was checked.
    ///
    /// # Errors
    /// [`AuthError`]: the tokens of one cannot be checked as configured.
    pub(crate) fn new(config: &Config) -> Result<Self, AuthError> {
        let everybody = Arc::new(Tenant::everybody(config)?);
        let mut elsewhere = Site(vec![(config.listen.path.clone(), Arc::clone(&everybody))]);
        let mut sites = Vec::<(HostPattern, Site)>::new();
        for (position, tenant) in config.tenant.iter().enumerate() {
            let path = tenant.path.as_ref().unwrap_or(&config.listen.path);
            let made = Arc::new(Tenant::new(tenant, position, &everybody)?);
            let endpoint = || (path.clone(), Arc::clone(&made));
            if tenant.hosts.is_empty() {
                elsewhere.0.push(endpoint());
            }
            for host in &tenant.hosts {
                match sites.iter_mut().find(|(pattern, _)| pattern == host) {
                    Some((_, site)) => site.0.push(endpoint()),
                    None => sites.push((host.clone(), Site(vec![endpoint()]))),
                }
            }
        }
        sites.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.rank()));
        Ok(Self { sites, elsewhere })
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        let sites = self.sites.iter().map(|(_, site)| site).chain([&self.elsewhere]);
        sites.flat_map(|site| site.0.iter().map(|(_, tenant)| tenant))
    }

    /// What checks their tokens, each once.
    pub(crate) fn verifiers(&self) -> Vec<Arc<Verifier>> {
        let mut found = Vec::<Arc<Verifier>>::new();
        for tenant in self.all() {
            if !found.iter().any(|known| Arc::ptr_eq(known, &tenant.verifier)) {
                found.push(Arc::clone(&tenant.verifier));
            }
        }
        found
    }

    /// That of everybody whom no other claims.
    #[cfg(test)]
    pub(crate) fn everybody(&self) -> &Arc<Tenant> {
        &self.elsewhere.0[0].1
    }

    /// The endpoints under a host; `None`: the client names none. In lower case, without a trailing dot.
    pub(crate) fn site(&self, host: Option<&str>) -> &Site {
        let named = host.and_then(|host| self.sites.iter().find(|(pattern, _)| pattern.matches(host)));
        named.map_or(&self.elsewhere, |(_, site)| site)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TENANTS: &str = r#"
server_names = ["a.example"]
[token]
anonymous = true
[[tenant]]
name = "wild"
hosts = ["*.shop.example"]
[[tenant]]
name = "exact"
hosts = ["vip.shop.example", "vip.example"]
channel_prefix = "vip:"
[[tenant]]
name = "deep"
hosts = ["*.b.shop.example"]
path = "/deep"
[[tenant]]
name = "vip-beta"
hosts = ["vip.example"]
path = "/beta"
[tenant.gate]
origins = ["https://beta.example"]
[[tenant]]
name = "path"
path = "/path"
"#;

    fn tenants() -> Tenants {
        Tenants::new(&Config::from_text("n.toml".as_ref(), TENANTS).unwrap()).unwrap()
    }

    #[test]
    fn host_then_path_tell_the_tenant() {
        const PATH: &str = "/connection/websocket";
        let tenants = tenants();
        let name =
            |host, path| tenants.site(host).at(path).map(|tenant| tenant.name.as_deref().unwrap_or("*"));
        let cases = [
            (Some("a.example"), PATH, Some("*")),
            (None, PATH, Some("*")),
            (Some("a.example"), "/path", Some("path")),
            (Some("a.example"), "/beta", None),
            (Some("x.shop.example"), PATH, Some("wild")),
            (Some("shop.example"), PATH, Some("*")),
            (Some("vip.shop.example"), PATH, Some("exact")),
            (Some("vip.example"), PATH, Some("exact")),
            (Some("vip.example"), "/beta", Some("vip-beta")),
            // The longer pattern has the host to itself.
            (Some("x.b.shop.example"), "/deep", Some("deep")),
            (Some("x.b.shop.example"), PATH, None),
            // A host of somebody's own shows nothing of others.
            (Some("vip.example"), "/path", None),
        ];
        for (host, path, expected) in cases {
            assert_eq!(name(host, path), expected, "{host:?} {path}");
        }
        assert_eq!(tenants.site(Some("x.b.shop.example")).only_path(), Some("/deep"));
        assert_eq!(tenants.site(Some("vip.example")).only_path(), None);
    }

    #[test]
    fn tenants_never_share_a_channel() {
        let tenants = tenants();
        let everybody = tenants.everybody();
        let vip = tenants.site(Some("vip.example")).at("/connection/websocket").unwrap();
        assert_eq!(everybody.channel("news").as_deref(), Some("news"));
        assert_eq!(vip.channel("news").as_deref(), Some("vip:news"));
        assert_eq!(vip.channel("vip:news").as_deref(), Some("vip:vip:news"));
        assert_eq!(everybody.channel("vip:news"), None);
        assert_eq!((everybody.called("news"), everybody.called("vip:news")), (Some("news"), None));
        assert_eq!((vip.called("news"), vip.called("vip:news")), (None, Some("news")));
        assert_eq!(
            tenants
                .site(Some("x.shop.example"))
                .only_path()
                .map(|path| { tenants.site(Some("x.shop.example")).at(path).unwrap().channel("vip:") }),
            Some(None)
        );
    }

    #[test]
    fn what_a_tenant_leaves_out_is_as_for_everybody() {
        let tenants = tenants();
        assert_eq!(tenants.everybody().name, None);
        let beta = tenants.site(Some("vip.example")).at("/beta").unwrap();
        assert_eq!((beta.gate.origins.len(), beta.token.anonymous), (1, true));
        let exact = tenants.site(Some("vip.example")).at("/connection/websocket").unwrap();
        assert_eq!((exact.gate.origins.len(), exact.channel_prefix.as_str()), (0, "vip:"));
    }
}
