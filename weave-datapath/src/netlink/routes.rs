//! Verbs on routes.

use rtnetlink::{
    RouteMessageBuilder,
    packet_core::{NLM_F_CREATE, NLM_F_EXCL},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        route::{
            RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
            RouteVia,
        },
    },
};

use super::{
    Error, Netlink, Route, Scope, parse,
    socket::{Object, What},
};

impl Netlink {
    /// Adds a route to the main table; `false` when there is one to this destination already.
    ///
    /// # Errors
    /// [`Error::Refused`] with `ENETUNREACH` when the next hop is on no connected network, with
    /// `ENETDOWN` when the interface is down.
    pub async fn add_route(&self, route: &Route) -> Result<bool, Error> {
        let what = What("add a route over", object(route));
        let message = RouteNetlinkMessage::NewRoute(message(route));
        match self.change(message, NLM_F_CREATE | NLM_F_EXCL, what).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_exists() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deletes a route of the main table; `false` when there is none like it.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn delete_route(&self, route: &Route) -> Result<bool, Error> {
        let what = What("delete a route over", object(route));
        let message = RouteNetlinkMessage::DelRoute(message(route));
        match self.change(message, 0, what).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The unicast routes of the main table, IPv4 and IPv6.
    ///
    /// # Errors
    /// As [`links`](Self::links).
    pub async fn routes(&self) -> Result<Vec<Route>, Error> {
        let request = RouteNetlinkMessage::GetRoute(RouteMessage::default());
        let answers = self.dump(request, What("list routes", Object::All)).await?;
        let routes = answers.iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewRoute(message) => parse::route(message),
            _ => None,
        });
        Ok(routes.collect())
    }
}

fn object(route: &Route) -> Object<'static> {
    route.dev.map_or(Object::All, Object::Index)
}

fn message(route: &Route) -> RouteMessage {
    let mut message = RouteMessageBuilder::<std::net::IpAddr>::new().build();
    let header = &mut message.header;
    header.address_family = if route.dst.addr().is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    header.destination_prefix_length = route.dst.prefix_len();
    header.kind = RouteType::Unicast;
    header.protocol = RouteProtocol::Boot;
    header.scope = match route.scope {
        Scope::Universe => RouteScope::Universe,
        Scope::Link => RouteScope::Link,
        Scope::Host => RouteScope::Host,
        Scope::Other(value) => value.into(),
    };
    let destination = RouteAddress::from(route.dst.network());
    message
        .attributes
        .push(RouteAttribute::Destination(destination));
    if let Some(via) = route.via {
        let same_family = via.is_ipv4() == route.dst.addr().is_ipv4();
        message.attributes.push(if same_family {
            RouteAttribute::Gateway(via.into())
        } else {
            RouteAttribute::Via(RouteVia::from(via))
        });
    }
    if let Some(dev) = route.dev {
        message.attributes.push(RouteAttribute::Oif(dev));
    }
    message
}
